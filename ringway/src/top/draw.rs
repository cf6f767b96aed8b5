//! Drawing a [`View`] into the cells of a terminal, or of a text.

use ratatui::buffer::Buffer;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row as Cells, Table, Widget};

use super::view::{Latency, Row, View};
use crate::admin::client::shown;
use crate::connections::duration;

/// What the body of the screen shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Section {
    #[default]
    Shards,
    Memory,
    Slowest,
    Channels,
    Closes,
}

impl Section {
    pub(crate) const ALL: [Self; 5] =
        [Self::Shards, Self::Memory, Self::Slowest, Self::Channels, Self::Closes];

    fn title(self) -> &'static str {
        match self {
            Self::Shards => "shards",
            Self::Memory => "memory",
            Self::Slowest => "slowest",
            Self::Channels => "channels",
            Self::Closes => "closes",
        }
    }

    /// What its rows may be sorted by, the first unless somebody chooses.
    pub(crate) fn orders(self) -> &'static [&'static str] {
        match self {
            Self::Shards => &["number", "connections", "busy", "outbox"],
            Self::Memory => &["bytes", "name"],
            Self::Slowest => &["outbox", "stalled"],
            Self::Channels => &["publications", "bytes"],
            Self::Closes => &["rate", "total"],
        }
    }
}

/// Lines above the body, without the one about shards that did not answer.
const HEAD_LINES: u16 = 5;

/// What is drawn of a view.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) view: &'a View,
    pub(crate) address: &'a str,
    pub(crate) section: Section,
    pub(crate) order: &'static str,
    /// Rows that are left out at the top.
    pub(crate) scroll: usize,
}

impl Frame<'_> {
    /// The whole screen, with the keys or a sentence at its foot.
    pub(crate) fn draw(&self, area: Rect, buffer: &mut Buffer, foot: &str) {
        let parts = Layout::vertical([
            Constraint::Length(self.head_lines()),
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(1),
        ]);
        let [head, tabs, body, bottom] = parts.areas(area);
        self.head(head, buffer);
        self.tabs(tabs, buffer);
        self.body(body, buffer);
        Line::styled(foot.to_owned(), Style::new().add_modifier(Modifier::DIM))
            .render(bottom, buffer);
    }

    /// Everything, each section below the other, as text.
    pub(crate) fn text(view: &View, address: &str, width: u16) -> String {
        let mut text = String::new();
        let frame = |section: Section| {
            let order = section.orders()[0];
            Frame { view, address, section, order, scroll: 0 }
        };
        let mut head = Buffer::empty(Rect::new(0, 0, width, frame(Section::Shards).head_lines()));
        frame(Section::Shards).head(head.area, &mut head);
        text.push_str(&text_of(&head));
        for section in Section::ALL {
            let (_, cells) = frame(section).table();
            let height = u16::try_from(cells.len() + 1).unwrap_or(u16::MAX);
            let mut body = Buffer::empty(Rect::new(0, 0, width, height));
            frame(section).body(body.area, &mut body);
            text.push_str(&format!("\n{}\n{}", frame(section).caption(), text_of(&body)));
        }
        text
    }

    fn head_lines(&self) -> u16 {
        HEAD_LINES + u16::from(!self.view.is_complete())
    }

    /// How many rows the body has, without its titles.
    pub(crate) fn rows_count(&self) -> usize {
        self.table().1.len()
    }

    /// Who is missing everywhere below.
    fn silent(&self) -> Option<Line<'static>> {
        let shards = self.view.all_silent();
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let list = shards.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let line =
            || Line::styled(format!("NO ANSWER from shards, which are missing: {list}"), bold);
        (!shards.is_empty()).then(line)
    }

    fn head(&self, area: Rect, buffer: &mut Buffer) {
        let View { all, memory, .. } = self.view;
        let name = shown(&self.view.name);
        let states = self.view.states.iter().map(|(state, count)| format!("{count} {state}"));
        let states = states.collect::<Vec<_>>().join(", ");
        let level = match memory.level {
            0 => "",
            1 => ", NOBODY NEW IS LET IN",
            _ => ", CLIENTS ARE CLOSED",
        };
        let limit = match memory.limit_bytes {
            0 => String::new(),
            limit => format!(" of {}", bytes(limit as f64)),
        };
        let journal = match self.view.journal {
            Some(latency) => format!("   journal {}", percentiles(latency)),
            None => String::new(),
        };
        let lines = [
            Line::styled(
                format!(
                    "Ringway {}  {name} at {}  {}  up {}",
                    shown(&self.view.version),
                    self.address,
                    shown(&self.view.driver),
                    duration(self.view.uptime_seconds),
                ),
                Style::new().add_modifier(Modifier::BOLD),
            ),
            Line::raw(format!("connections {}: {states}", all.connections)),
            Line::raw(format!(
                "in {}/s, {}/s   out {}/s, {}/s   published {}/s   new {}/s",
                count(all.messages),
                bytes(all.bytes_in),
                count(all.deliveries),
                bytes(all.bytes_out),
                count(all.publications),
                count(all.accepts),
            )),
            Line::raw(format!(
                "publish {}   turn {}{journal}",
                percentiles(self.view.publish),
                percentiles(all.turn)
            )),
            Line::raw(format!(
                "memory {}{limit}{level}   outboxes {}   rates of {:.1} s",
                bytes(memory.used_bytes as f64),
                bytes(all.outbox_bytes as f64),
                self.view.interval_ms as f64 / 1000.0,
            )),
        ];
        let lines: Vec<_> = lines.into_iter().chain(self.silent()).collect();
        Paragraph::new(lines).render(area, buffer);
    }

    fn tabs(&self, area: Rect, buffer: &mut Buffer) {
        let titles = Section::ALL.iter().enumerate().map(|(place, section)| {
            let (open, close) = if *section == self.section { ('[', ']') } else { (' ', ' ') };
            format!("{open}{} {}{close}", place + 1, section.title())
        });
        let titles = titles.collect::<Vec<_>>().join(" ");
        let line = format!("{titles}  by {}", self.order);
        Line::styled(line, Style::new().add_modifier(Modifier::REVERSED)).render(area, buffer);
    }

    fn caption(&self) -> String {
        format!("{}, by {}", self.section.title(), self.order)
    }

    fn body(&self, area: Rect, buffer: &mut Buffer) {
        let (columns, cells) = self.table();
        let cell = |text: &String, column: &Column| {
            let alignment = if column.is_number { Alignment::Right } else { Alignment::Left };
            Cell::from(Line::raw(text.clone()).alignment(alignment))
        };
        let rows = cells.iter().skip(self.scroll).map(|row| {
            Cells::new(row.iter().zip(&columns).map(|(text, column)| cell(text, column)))
        });
        let titles = columns.iter().map(|column| cell(&column.title.to_owned(), column));
        let head = Cells::new(titles).style(Style::new().add_modifier(Modifier::BOLD));
        let widths = columns.iter().map(|column| column.width);
        Widget::render(Table::new(rows, widths).header(head), area, buffer);
    }

    /// Columns, and the text of every cell.
    fn table(&self) -> (Vec<Column>, Vec<Vec<String>>) {
        match self.section {
            Section::Shards => self.shards(),
            Section::Memory => self.memory(),
            Section::Slowest => self.slowest(),
            Section::Channels => self.channels(),
            Section::Closes => self.closes(),
        }
    }

    fn shards(&self) -> (Vec<Column>, Vec<Vec<String>>) {
        let columns = vec![
            name("shard", 5),
            number("conns", 7),
            number("hot", 6),
            number("in/s", 7),
            number("out/s", 7),
            number("out B/s", 8),
            number("busy", 5),
            number("p50 µs", 7),
            number("p99 µs", 7),
            number("lanes", 5),
            number("outbox", 6),
        ];
        let mut rows: Vec<&Row> = self.view.shards.iter().collect();
        match self.order {
            "connections" => rows.sort_by_key(|row| core::cmp::Reverse(row.connections)),
            "busy" => rows.sort_by(|one, other| other.busy_percent.total_cmp(&one.busy_percent)),
            "outbox" => rows.sort_by_key(|row| core::cmp::Reverse(row.outbox_bytes)),
            _ => rows.sort_by_key(|row| row.shard),
        }
        // Scrolling reaches whatever is below; what everybody wants to see is on top.
        let cells = [&self.view.all].into_iter().chain(rows).map(|row| {
            let rate = |text: String| if row.has_rates { text } else { "-".to_owned() };
            vec![
                row.shard.map_or("all".to_owned(), |shard| shard.to_string()),
                row.connections.to_string(),
                row.hot.to_string(),
                rate(count(row.messages)),
                rate(count(row.deliveries)),
                rate(bytes(row.bytes_out)),
                rate(format!("{:.0}%", row.busy_percent)),
                bound(row.turn.count, row.turn.p50_us),
                bound(row.turn.count, row.turn.p99_us),
                (row.inbox + row.lanes).to_string(),
                bytes(row.outbox_bytes as f64),
            ]
        });
        (columns, cells.collect())
    }

    fn memory(&self) -> (Vec<Column>, Vec<Vec<String>>) {
        let columns = vec![name("for", 16), number("bytes", 14), number("", 10), number("each", 8)];
        let mut kinds: Vec<_> = self.view.all.memory_bytes.iter().collect();
        if self.order == "bytes" {
            kinds.sort_by_key(|(_, bytes)| core::cmp::Reverse(**bytes));
        }
        let sum: u64 = kinds.iter().map(|(_, bytes)| **bytes).sum();
        let connections = self.view.all.connections.max(1);
        let row = |kind: &str, held: u64| {
            vec![
                shown(kind),
                held.to_string(),
                bytes(held as f64),
                (held / connections).to_string(),
            ]
        };
        let all = [row("all of it", sum)];
        let cells = all.into_iter().chain(kinds.into_iter().map(|(kind, held)| row(kind, *held)));
        (columns, cells.collect())
    }

    fn slowest(&self) -> (Vec<Column>, Vec<Vec<String>>) {
        let columns = vec![
            name("connection", 14),
            number("outbox", 9),
            number("stalled", 7),
            number("memory", 9),
            name("address", 21),
            fill("user"),
        ];
        let rows = self.view.slowest.connections.iter().map(|one| {
            vec![
                one.id.clone(),
                bytes(one.outbox_bytes as f64),
                format!("{:.1}s", one.stalled_ms as f64 / 1000.0),
                bytes(one.memory_bytes as f64),
                one.address.clone().unwrap_or_else(|| "-".to_owned()),
                shown(&one.user),
            ]
        });
        (columns, rows.collect())
    }

    fn channels(&self) -> (Vec<Column>, Vec<Vec<String>>) {
        let columns = vec![
            number("published/s", 11),
            number("payload/s", 10),
            number("listeners", 9),
            number("delivered/s", 11),
            fill("channel"),
        ];
        let rows = self.view.channels.channels.iter().map(|one| {
            vec![
                count(one.publications_per_second),
                bytes(one.bytes_per_second),
                one.subscribers.to_string(),
                count(one.publications_per_second * one.subscribers as f64),
                shown(&one.channel),
            ]
        });
        (columns, rows.collect())
    }

    fn closes(&self) -> (Vec<Column>, Vec<Vec<String>>) {
        let columns = vec![name("what", 8), name("why", 24), number("total", 12), number("/s", 8)];
        let closes = self.view.closes.iter().map(|(why, counts)| ("closed", why, *counts));
        let drops = self.view.drops.iter().map(|(why, counts)| ("dropped", why, *counts));
        let mut all: Vec<_> = closes.chain(drops).collect();
        all.sort_by(|(_, _, (one, one_rate)), (_, _, (other, other_rate))| {
            let by_rate = match self.order {
                "rate" => other_rate.total_cmp(one_rate),
                _ => core::cmp::Ordering::Equal,
            };
            by_rate.then(other.cmp(one))
        });
        let cells = all.into_iter().map(|(what, why, (total, rate))| {
            vec![what.to_owned(), shown(why), total.to_string(), count(rate)]
        });
        (columns, cells.collect())
    }
}

struct Column {
    title: &'static str,
    width: Constraint,
    is_number: bool,
}

fn name(title: &'static str, width: u16) -> Column {
    Column { title, width: Constraint::Length(width), is_number: false }
}

fn fill(title: &'static str) -> Column {
    Column { title, width: Constraint::Fill(1), is_number: false }
}

fn number(title: &'static str, width: u16) -> Column {
    Column { title, width: Constraint::Length(width), is_number: true }
}

fn percentiles(latency: Latency) -> String {
    let of = |us| bound(latency.count, us);
    match latency.count {
        0 => "-".to_owned(),
        _ => format!("p50 {} p99 {} µs", of(latency.p50_us), of(latency.p99_us)),
    }
}

/// The bound of a percentile in microseconds.
fn bound(count: u64, bound_us: Option<u64>) -> String {
    match (count, bound_us) {
        (0, _) => "-".to_owned(),
        (_, Some(us)) => us.to_string(),
        // Beyond the last bound.
        (_, None) => "more".to_owned(),
    }
}

/// A number or a rate in at most six signs.
fn count(value: f64) -> String {
    match value {
        0.0..10.0 if value.fract() > 0.0 => format!("{value:.1}"),
        0.0..100_000.0 => format!("{value:.0}"),
        0.0..1e7 => format!("{:.0}k", value / 1e3),
        _ => format!("{:.0}M", value / 1e6),
    }
}

/// Bytes in the unit that leaves at most four digits.
fn bytes(value: f64) -> String {
    let units = [("", 1.0), ("K", 1024.0), ("M", 1024.0 * 1024.0)];
    let fits = |(_, size): &&(&str, f64)| value / size < 1000.0;
    let (unit, size) = units.iter().find(fits).copied().unwrap_or(("G", 1024.0 * 1024.0 * 1024.0));
    match value / size {
        small if size > 1.0 && small < 10.0 => format!("{small:.1}{unit}"),
        other => format!("{other:.0}{unit}"),
    }
}

/// Lines of a buffer, without blanks at their ends.
pub(crate) fn text_of(buffer: &Buffer) -> String {
    let area = buffer.area;
    let mut text = String::new();
    for y in area.top()..area.bottom() {
        let line: String = (area.left()..area.right()).map(|x| buffer[(x, y)].symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde::Deserialize;

    use super::*;
    use crate::admin::model::{Channels, Connections, Node};

    /// What a server answered with 300 clients, of whom two took nothing.
    const RECORDED: &str = include_str!("recorded.json");

    #[derive(Deserialize)]
    struct Recorded {
        before: Node,
        now: Node,
        slowest: Connections,
        channels: Channels,
    }

    fn recorded() -> View {
        let Recorded { before, now, slowest, channels } =
            serde_json::from_str(RECORDED).expect("answers as the server gives them");
        View::between(&before, &now, slowest, channels)
    }

    /// The lines of a screen.
    fn screen(view: &View, section: Section, order: usize, size: (u16, u16)) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).expect("a terminal");
        let order = section.orders()[order];
        let frame = Frame { view, address: "127.0.0.1:9000", section, order, scroll: 0 };
        let drawn = terminal.draw(|one| frame.draw(one.area(), one.buffer_mut(), "q quit"));
        drawn.expect("nothing fails here");
        text_of(terminal.backend().buffer()).lines().map(str::to_owned).collect()
    }

    /// The words of the line that begins with `start`.
    fn words<'a>(lines: &'a [String], start: &str) -> Vec<&'a str> {
        let line = lines.iter().find(|line| line.trim_start().starts_with(start));
        let line = line.unwrap_or_else(|| panic!("no {start:?} in {lines:#?}"));
        line.split_whitespace().collect()
    }

    #[test]
    fn the_head_says_how_the_node_is() {
        let view = recorded();
        let lines = screen(&view, Section::Shards, 0, (80, 24));
        assert_eq!(lines.len(), 24);
        assert_eq!(lines[..5], HEAD);
        assert_eq!(lines[23], "q quit");
        assert!(lines[5].starts_with("[1 shards]  2 memory"), "{}", lines[5]);
    }

    #[test]
    fn shards_that_are_silent_have_a_line_of_their_own() {
        let mut view = recorded();
        view.name = "a very long name of a node".repeat(5);
        (view.silent_shards, view.slowest.silent_shards) = (vec![3], vec![1, 3]);
        let lines = screen(&view, Section::Shards, 0, (80, 24));
        assert_eq!(lines[5], "NO ANSWER from shards, which are missing: 1, 3");
        assert!(lines[6].starts_with("[1 shards]"), "{}", lines[6]);
        let text = Frame::text(&view, "127.0.0.1:9000", 80);
        assert!(text.contains("\nNO ANSWER from shards, which are missing: 1, 3\n"), "{text}");
    }

    #[test]
    fn shards_stand_in_the_order_that_is_chosen_and_add_up() {
        let view = recorded();
        let number = |lines: &[String], start: &str, column: usize| -> u64 {
            words(lines, start)[column].parse().expect("a number")
        };
        let lines = screen(&view, Section::Shards, 0, (80, 24));
        let connections = ["0", "1", "all"].map(|shard| number(&lines, shard, 1));
        assert_eq!(connections[0] + connections[1], connections[2]);
        assert_eq!(connections[2], view.all.connections);
        // The second has more.
        assert!(connections[0] < connections[1], "{connections:?}");
        let lines = screen(&view, Section::Shards, 1, (80, 24));
        assert_eq!(words(&lines[7..8], "all")[0], "all");
        assert_eq!((words(&lines[8..9], "1")[0], words(&lines[9..10], "0")[0]), ("1", "0"));
        let titles = words(&lines, "shard");
        assert_eq!(titles.last(), Some(&"outbox"), "the last column is whole: {titles:?}");
    }

    #[test]
    fn every_section_shows_what_was_answered() {
        let view = recorded();
        let memory = screen(&view, Section::Memory, 0, (80, 24));
        let sum: u64 = view.all.memory_bytes.values().sum();
        assert_eq!(words(&memory, "all of it")[3], sum.to_string());
        let one = &view.slowest.connections[0];
        let slowest = screen(&view, Section::Slowest, 0, (80, 24));
        let stalled = format!("{:.1}s", one.stalled_ms as f64 / 1000.0);
        let address = one.address.clone().expect("an address");
        let shown = words(&slowest, &one.id);
        assert_eq!(shown, [&one.id, "880K", &stalled, "881K", &address, &one.user]);
        let busiest = &view.channels.channels[0];
        let channels = screen(&view, Section::Channels, 0, (80, 24));
        let line = channels.iter().find(|line| line.ends_with(&busiest.channel));
        let listeners = busiest.subscribers.to_string();
        assert!(line.is_some_and(|line| line.contains(&listeners)), "{channels:#?}");
        assert_eq!(channels.iter().filter(|line| !line.is_empty()).count(), 7 + 1 + 10);
    }

    #[test]
    fn closes_and_drops_are_shown_by_rate() {
        let mut view = recorded();
        view.closes = [("slow".to_owned(), (2, 0.0)), ("no_pong".to_owned(), (1, 1.5))].into();
        view.drops = [("queue_full".to_owned(), (700, 0.0))].into();
        let lines = screen(&view, Section::Closes, 0, (80, 24));
        assert_eq!(words(&lines[7..8], "closed"), ["closed", "no_pong", "1", "1.5"]);
        assert_eq!(words(&lines[8..9], "dropped"), ["dropped", "queue_full", "700", "0"]);
        let lines = screen(&view, Section::Closes, 1, (80, 24));
        assert_eq!(words(&lines[8..9], "closed"), ["closed", "slow", "2", "0"]);
    }

    #[test]
    fn texts_of_clients_do_not_leave_their_cell() {
        let mut view = recorded();
        view.channels.channels[0].channel = "a\u{1b}[2J\nb".repeat(50);
        view.slowest.connections[0].user = "\u{202e}x".repeat(50);
        for (section, line, written) in [
            (Section::Channels, 7, "a\\u{1b}[2J\\u{a}ba\\u{1b}"),
            (Section::Slowest, 7, "\\u{202e}x"),
        ] {
            let lines = screen(&view, section, 0, (80, 24));
            assert_eq!(lines.len(), 24);
            assert!(lines[line].chars().all(|sign| !sign.is_control() && sign != '\u{202e}'));
            assert!(lines[line].chars().count() <= 80);
            assert!(lines[line].contains(written), "{}", lines[line]);
        }
    }

    #[test]
    fn any_size_is_drawn() {
        let view = recorded();
        for size in [(1, 1), (10, 3), (80, 24), (300, 100)] {
            for section in Section::ALL {
                assert_eq!(screen(&view, section, 0, size).len(), usize::from(size.1));
            }
        }
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.25, 9.96, 10.0, 99_999.0, 123_456.0, 12_345_678.0].map(count);
        assert_eq!(shown, ["0", "0.2", "10.0", "10", "99999", "123k", "12M"]);
        let shown = [0.0, 999.0, 1024.0, 999.0 * 1024.0, 5e6, 5e9, 5e12].map(bytes);
        assert_eq!(shown, ["0", "999", "1.0K", "999K", "4.8M", "4.7G", "4657G"]);
    }

    /// Worked out from the answers by hand.
    const HEAD: [&str; 5] = [
        "Ringway 0.1.0  chat-1 at 127.0.0.1:9000  io_uring  up 19s",
        "connections 301: 300 connected, 1 idle",
        "in 14/s, 330K/s   out 1588/s, 2.0M/s   published 23/s   new 0/s",
        "publish -   turn p50 32 p99 256 µs",
        "memory 21M of 24G   outboxes 1.9M   rates of 1.3 s",
    ];
}
