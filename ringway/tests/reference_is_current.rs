//! docs/CONFIGURATION.md is what the table of options says.

use std::path::Path;

use ringway::settings::reference;

#[test]
fn the_page_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CONFIGURATION.md");
    let page = reference::page();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &page).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == page,
        "docs/CONFIGURATION.md is old; run \
         `UPDATE_REFERENCE=1 cargo test -p ringway --test reference_is_current`"
    );
}
