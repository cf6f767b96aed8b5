//! `ringway top`: what a node does, once a second, in a terminal.
//!
//! ```text
//!  asking thread ── view or fault ──► screen ── what is looked at ──► asking thread
//! ```
//!
//! A server that does not answer keeps only the asking thread: keys work at all times.

mod draw;
mod view;

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Widget as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin::client::{Asker, Fault, Reach, json_for};
use crate::admin::model::{
    Channels, ChannelsQuestion, Connections, Node, NodeQuestion, SlowestQuestion,
};
use draw::{Frame, Section};
use view::View;

/// What the command line says.
#[derive(Args, Clone, Debug)]
pub(crate) struct TopArguments {
    #[command(flatten)]
    reach: Reach,
    /// Print everything once, as text, and end.
    #[arg(long)]
    once: bool,
    /// Print everything once, as JSON, and end.
    #[arg(long)]
    json: bool,
    /// Seconds between two looks, which rates are of.
    #[arg(long, value_name = "SECONDS", default_value = "1",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
}

/// Rows of the slowest and of channels that are asked for: more than a screen has, as a rule.
const ROWS: u64 = 50;
/// The same for a text.
const ROWS_OF_TEXT: u64 = 10;
/// Columns of a text.
const COLUMNS_OF_TEXT: u16 = 80;
/// How soon a view that has come is shown.
const LOOK: Duration = Duration::from_millis(50);

/// Does what the operator typed. False if shards did not answer when everything was printed once.
///
/// # Errors
///
/// Why it could not be done.
pub(crate) fn run(arguments: &TopArguments) -> Result<bool, Fault> {
    let asker = Asker::new(&arguments.reach)?;
    let interval = Duration::from_secs(arguments.interval);
    if arguments.once || arguments.json {
        return once(&asker, interval, arguments.json);
    }
    if !std::io::stdout().is_terminal() {
        let sentence = "error: standard output is no terminal; print everything once with --once, \
                        or as JSON with --json";
        return Err(Fault::Usage(sentence.to_owned()));
    }
    // Whatever is wrong is said before the screen is taken.
    let first = asker.ask("node", &NodeQuestion {})?;
    let address = asker.address.clone();
    let (wanted, asked) = channel();
    let (tell, told) = channel();
    std::thread::Builder::new()
        .name("asking".to_owned())
        .spawn(move || keep_asking(&asker, first, &asked, &tell))
        .map_err(|error| Fault::Usage(format!("error: no thread can be started: {error}")))?;
    let is_told_to_end = told_to_end()
        .map_err(|error| Fault::Usage(format!("error: signals cannot be received: {error}")))?;
    let shown = ratatui::try_init().and_then(|mut terminal| {
        Screen::new(address, interval, wanted).show(&mut terminal, &told, &is_told_to_end)
    });
    // Also if it could only be taken in part. A terminal that is gone needs nothing.
    let _ = ratatui::try_restore();
    shown.map_err(|error| Fault::Usage(format!("error: the terminal cannot be used: {error}")))?;
    Ok(true)
}

/// Becomes true on SIGTERM, SIGINT or SIGHUP, which end nothing by themselves any more: the
/// terminal has to be restored.
fn told_to_end() -> std::io::Result<Arc<AtomicBool>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listened = {
        let _entered = runtime.enter();
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        kinds.map(signal)
    };
    let [terminate, interrupt, hang_up] = listened;
    let (mut terminate, mut interrupt, mut hang_up) = (terminate?, interrupt?, hang_up?);
    let is_told = Arc::new(AtomicBool::new(false));
    let told = is_told.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hang_up.recv() => {}
            }
        });
        told.store(true, Ordering::Relaxed);
    })?;
    Ok(is_told)
}

fn once(asker: &Asker, interval: Duration, is_json: bool) -> Result<bool, Fault> {
    let before: Node = asker.ask("node", &NodeQuestion {})?;
    std::thread::sleep(interval);
    let look = Look { rows: ROWS_OF_TEXT, ..Look::default() };
    let (view, _) = look.take(asker, &before)?;
    let text = if is_json {
        json_for(&view, std::io::stdout().is_terminal())
    } else {
        Frame::text(&view, &asker.address, COLUMNS_OF_TEXT)
    };
    // Who reads along may have gone.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(view.is_complete())
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    slowest_by: &'static str,
    channels_by: &'static str,
    rows: u64,
}

impl Default for Look {
    fn default() -> Self {
        let first = |section: Section| section.orders()[0];
        let (slowest_by, channels_by) = (first(Section::Slowest), first(Section::Channels));
        Self { slowest_by, channels_by, rows: ROWS }
    }
}

impl Look {
    /// A view since `before`, and what the next one is since.
    fn take(self, asker: &Asker, before: &Node) -> Result<(View, Node), Fault> {
        let (by, limit) = (Some(self.slowest_by.to_owned()), Some(self.rows));
        let slowest: Connections = asker.ask("slowest", &SlowestQuestion { by, limit })?;
        let (by, limit) = (Some(self.channels_by.to_owned()), Some(self.rows));
        let channels: Channels = asker.ask("channels", &ChannelsQuestion { by, limit })?;
        let node: Node = asker.ask("node", &NodeQuestion {})?;
        Ok((View::between(before, &node, slowest, channels), node))
    }
}

/// Asks as often as it is told to, until nobody listens.
fn keep_asking(
    asker: &Asker,
    first: Node,
    asked: &Receiver<Look>,
    tell: &Sender<Result<View, Fault>>,
) {
    let mut before = first;
    while let Ok(look) = asked.recv() {
        let taken = look.take(asker, &before).map(|(view, node)| {
            before = node;
            view
        });
        if tell.send(taken).is_err() {
            return;
        }
    }
}

/// What is on the screen, and what keys have made of it.
struct Screen {
    address: String,
    interval: Duration,
    wanted: Sender<Look>,
    view: Option<View>,
    fault: Option<String>,
    section: Section,
    /// By section, the place of the order in [`Section::orders`].
    orders: [usize; Section::ALL.len()],
    scroll: usize,
    is_paused: bool,
    is_asking: bool,
    ask_at: Instant,
}

impl Screen {
    fn new(address: String, interval: Duration, wanted: Sender<Look>) -> Self {
        Self {
            address,
            interval,
            wanted,
            view: None,
            fault: None,
            section: Section::default(),
            orders: [0; Section::ALL.len()],
            scroll: 0,
            is_paused: false,
            is_asking: false,
            // The first view is soon there; its rates are of this time.
            ask_at: Instant::now() + interval.min(Duration::from_secs(1)),
        }
    }

    fn show(
        &mut self,
        terminal: &mut DefaultTerminal,
        told: &Receiver<Result<View, Fault>>,
        is_told_to_end: &AtomicBool,
    ) -> std::io::Result<()> {
        while !is_told_to_end.load(Ordering::Relaxed) {
            terminal.draw(|frame| self.draw(frame.area(), frame.buffer_mut()))?;
            match told.recv_timeout(Duration::ZERO) {
                Ok(Ok(view)) => {
                    (self.view, self.fault) = (Some(view), None);
                    self.scroll = self.scroll.min(self.scroll_max());
                }
                Ok(Err(fault)) => self.fault = Some(fault.to_string()),
                Err(RecvTimeoutError::Timeout) => {
                    if event::poll(LOOK)? && !self.take(&event::read()?) {
                        return Ok(());
                    }
                    self.ask_if_due();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.is_asking = false;
        }
        Ok(())
    }

    fn ask_if_due(&mut self) {
        if self.is_asking || self.is_paused || Instant::now() < self.ask_at {
            return;
        }
        self.ask_at = Instant::now() + self.interval;
        self.is_asking = self.wanted.send(self.look()).is_ok();
    }

    fn look(&self) -> Look {
        let (slowest_by, channels_by) =
            (self.order_of(Section::Slowest), self.order_of(Section::Channels));
        Look { slowest_by, channels_by, rows: ROWS }
    }

    fn order_of(&self, section: Section) -> &'static str {
        section.orders()[self.orders[section as usize]]
    }

    /// False: the operator has seen enough.
    fn take(&mut self, event: &Event) -> bool {
        let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else {
            return true;
        };
        let sections = Section::ALL.len();
        match code {
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return false,
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char(digit @ '1'..='5') => {
                self.turn_to(usize::from(*digit as u8 - b'1'));
            }
            KeyCode::Tab | KeyCode::Right => self.turn_to((self.section as usize + 1) % sections),
            KeyCode::BackTab | KeyCode::Left => {
                self.turn_to((self.section as usize + sections - 1) % sections);
            }
            KeyCode::Char('s') => {
                let order = &mut self.orders[self.section as usize];
                *order = (*order + 1) % self.section.orders().len();
                self.ask_at = Instant::now();
            }
            KeyCode::Down | KeyCode::Char('j') => {
                self.scroll = (self.scroll + 1).min(self.scroll_max());
            }
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('+') => self.interval = (self.interval * 2).min(INTERVAL_MAX),
            KeyCode::Char('-') => {
                self.interval = (self.interval / 2).max(INTERVAL_MIN);
                self.ask_at = self.ask_at.min(Instant::now() + self.interval);
            }
            _ => {}
        }
        true
    }

    fn turn_to(&mut self, section: usize) {
        self.section = Section::ALL[section];
        self.scroll = 0;
    }

    fn draw(&self, area: Rect, buffer: &mut Buffer) {
        let foot = self.foot();
        let Some(view) = &self.view else {
            return Line::raw(foot).render(area, buffer);
        };
        self.frame(view).draw(area, buffer, &foot);
    }

    fn frame<'a>(&'a self, view: &'a View) -> Frame<'a> {
        let (section, order) = (self.section, self.order_of(self.section));
        Frame { view, address: &self.address, section, order, scroll: self.scroll }
    }

    /// Furthest that rows are scrolled: to the last one.
    fn scroll_max(&self) -> usize {
        self.view.as_ref().map_or(0, |view| self.frame(view).rows_count().saturating_sub(1))
    }

    /// What is wrong, or else what keys do.
    fn foot(&self) -> String {
        if let Some(fault) = &self.fault {
            return fault.clone();
        }
        let pace = match self.is_paused {
            true => "paused".to_owned(),
            false => format!("every {:.1} s", self.interval.as_secs_f64()),
        };
        format!("q quit  1-5 tab section  s sort  ↑↓ scroll  p pause  + - pace  {pace}")
    }
}

/// Shortest time between two looks.
const INTERVAL_MIN: Duration = Duration::from_millis(500);
/// Longest time between two looks.
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn screen() -> (Screen, Receiver<Look>) {
        let (wanted, asked) = channel();
        (Screen::new("127.0.0.1:9000".to_owned(), Duration::from_secs(1), wanted), asked)
    }

    fn press(screen: &mut Screen, code: KeyCode) -> bool {
        screen.take(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    #[test]
    fn keys_turn_sort_pause_and_end() {
        let (mut screen, asked) = screen();
        for (key, section) in [
            (KeyCode::Char('4'), Section::Channels),
            (KeyCode::Tab, Section::Closes),
            (KeyCode::Tab, Section::Shards),
            (KeyCode::Left, Section::Closes),
            (KeyCode::Char('3'), Section::Slowest),
        ] {
            assert!(press(&mut screen, key));
            assert_eq!(screen.section, section);
        }
        // The server sorts these: it is asked anew, at once.
        press(&mut screen, KeyCode::Char('s'));
        screen.ask_if_due();
        let look = asked.try_recv().expect("it was asked");
        assert_eq!((look.slowest_by, look.channels_by), ("stalled", "publications"));
        screen.ask_if_due();
        assert!(asked.try_recv().is_err(), "one question at a time");
        press(&mut screen, KeyCode::Char('s'));
        assert_eq!(screen.look().slowest_by, "outbox");
        (screen.is_asking, screen.ask_at) = (false, Instant::now());
        press(&mut screen, KeyCode::Char('p'));
        screen.ask_if_due();
        assert!(asked.try_recv().is_err(), "paused");
        assert!(screen.foot().ends_with("paused"));
        screen.ask_at = Instant::now() + INTERVAL_MAX;
        for _ in 0..100 {
            press(&mut screen, KeyCode::Char('+'));
        }
        assert_eq!(screen.interval, INTERVAL_MAX);
        for _ in 0..100 {
            press(&mut screen, KeyCode::Char('-'));
        }
        assert_eq!(screen.interval, INTERVAL_MIN);
        assert!(screen.ask_at <= Instant::now() + INTERVAL_MIN, "at once");
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(!screen.take(&Event::Key(interrupt)));
        assert!(!press(&mut screen, KeyCode::Char('q')));
    }

    #[test]
    fn rows_are_scrolled_within_what_there_is() {
        let (mut screen, _asked) = screen();
        press(&mut screen, KeyCode::Up);
        assert_eq!(screen.scroll, 0);
        press(&mut screen, KeyCode::Down);
        assert_eq!(screen.scroll, 0, "there is nothing");
        let shards = (0..100).map(|shard| view::Row { shard: Some(shard), ..Default::default() });
        screen.view = Some(View { shards: shards.collect(), ..View::default() });
        for _ in 0..200 {
            press(&mut screen, KeyCode::Down);
        }
        let area = Rect::new(0, 0, 80, 9);
        let mut buffer = Buffer::empty(area);
        screen.draw(area, &mut buffer);
        let text = draw::text_of(&buffer);
        assert!(text.lines().nth(7).is_some_and(|line| line.starts_with("99 ")), "{text}");
        press(&mut screen, KeyCode::Tab);
        assert_eq!(screen.scroll, 0, "another section begins at its top");
    }

    #[test]
    fn what_is_wrong_takes_the_place_of_the_keys() {
        let (mut screen, _asked) = screen();
        assert!(screen.foot().starts_with("q quit"));
        assert!(screen.foot().chars().count() <= 80, "{}", screen.foot());
        screen.fault = Some("no server answers".to_owned());
        let area = Rect::new(0, 0, 40, 3);
        let mut buffer = Buffer::empty(area);
        screen.draw(area, &mut buffer);
        assert!(draw::text_of(&buffer).starts_with("no server answers\n"));
    }
}
