//! temporary
pub mod node;
use std::sync::Arc;
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn main() {
    let mut config = gateway::config::GatewayConfig {
        websocket_echo: true,
        insecure: true,
        ..Default::default()
    };
    let mut ns = protocol::channels::Namespaces::default();
    ns.without.history_size = 100;
    ns.without.history_ttl = std::time::Duration::from_secs(300);
    ns.without.allow_recovery = true;
    ns.without.presence = std::env::var("PRESENCE").is_ok();
    if std::env::var("NOHIST").is_ok() {
        ns.without.history_size = 0;
    }
    config.namespaces = Arc::new(ns);
    let g = |k: &str, d: u32| std::env::var(k).ok().and_then(|v| v.parse().ok()).unwrap_or(d);
    let options = node::NodeOptions {
        address: ([0, 0, 0, 0], g("PORT", 9001) as u16).into(),
        shards_count: g("SHARDS", 1) as u8,
        partitions_count: 64,
        connections_per_shard: 19_990,
        pins: false,
        gateway: Arc::new(config),
        verifier: Arc::new(gateway::engine::NoTokens),
        seed: 1,
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let slot: Arc<std::sync::OnceLock<axum::Router>> = Arc::new(std::sync::OnceLock::new());
    let (h, s2) = (runtime.handle().clone(), slot.clone());
    let node = match node::Node::start(
        &options,
        move |_, shard| {
            let _g = h.enter();
            node::service::TowerService::start(s2.clone(), shard.gateway.clone())
        },
        || {},
    ) {
        Ok(n) => n,
        Err(e) => {
            eprintln!("{e}");
            std::process::exit(1)
        }
    };
    let backend = node::backend::LocalBackend::new(
        node.shards.clone(),
        64,
        options.gateway.namespaces.clone(),
        "n".into(),
        "u".into(),
    );
    let _ = slot.set(node::http::client_port(
        &backend,
        node::http::ClientRoutes {
            api: Some(router::api::ApiAccess::Everybody),
            page: true,
            health: true,
        },
    ));
    eprintln!("listening on {}", node.address);
    node.join().unwrap();
}
