//! Tests of cutting output.

use super::*;

fn cut(bytes: &[u8], limit: u64) -> StreamExcerpt {
    let stream = RecordedStream {
        bytes,
        ..RecordedStream::default()
    };
    let cut = OutputCut {
        limit,
        window: OutputWindow::HeadAndTail,
        can_look_up: true,
    };
    cut.show(stream)
}

#[test]
fn windows_show_what_an_answer_cut() {
    let bytes = "0123456789€".as_bytes();
    let stream = RecordedStream {
        bytes,
        ..RecordedStream::default()
    };
    let cut = OutputCut {
        limit: 4,
        window: OutputWindow::HeadAndTail,
        can_look_up: true,
    };
    let shown = |cut: OutputCut| {
        let shown = cut.show(stream);
        (shown.text, shown.is_cut, shown.is_lossy)
    };
    assert_eq!(shown(cut.with_tail(5)), ("89€".into(), true, false));
    // Half of a character is left out.
    assert_eq!(shown(cut.with_tail(4)), ("9€".into(), true, false));
    assert_eq!(shown(cut.with_tail(2)), (String::new(), true, false));
    assert_eq!(shown(cut.with_tail(0)), (String::new(), true, false));
    assert!(!shown(cut.with_tail(99)).1);
    assert_eq!(shown(cut.with_offset(3)), ("3456".into(), true, false));
    assert_eq!(shown(cut.with_offset(99)), (String::new(), true, false));
    let next = cut.with_offset(3).next("id", bytes.len()).unwrap();
    assert!(next.contains("offset=7"), "{next}");
    assert_eq!(cut.with_offset(9).next("id", bytes.len()), None);
}

#[test]
fn the_default_is_that_of_run() {
    let run = crate::tools::find_tool("run").unwrap().argument_schema();
    let limit = &run["properties"]["truncate_output_at"];
    assert_eq!(limit["default"], DEFAULT_OUTPUT_BYTES);
    assert_eq!(limit["maximum"], MAX_RECORDED_BYTES);
}

#[test]
fn a_stream_within_the_limit_is_whole() {
    for length in [0, 1, 999, 1000] {
        let text = "x".repeat(length);
        let shown = cut(text.as_bytes(), 1000);
        assert_eq!((shown.text, shown.is_cut), (text, false));
    }
    let shown = cut("x".repeat(1001).as_bytes(), 1000);
    assert!(shown.is_cut && shown.text.len() <= 1000, "{}", shown.text);
}

#[test]
fn a_cut_stream_has_its_head_its_tail_and_the_number_of_bytes_between() {
    let lines: Vec<String> = (1..=10_000).map(|n| format!("line {n}\n")).collect();
    let all = lines.concat();
    for limit in [64, 65, 100, 255, 256, 1000, 8000, 65_536] {
        let text = cut(all.as_bytes(), limit).text;
        assert!(text.len() as u64 <= limit, "{limit}: {}", text.len());
        assert!(text.starts_with("line 1\n"), "{limit}: {text}");
        assert!(text.ends_with("line 10000\n"), "{limit}: {text}");
        let (head, rest) = text.split_once("[… ").unwrap();
        let (number, tail) = rest.split_once(" bytes left out …]\n").unwrap();
        let number: usize = number.parse().unwrap();
        let kept = &all[..all.len() - number - tail.len()];
        // The line between both parts begins a line of its own.
        let newline = if kept.ends_with('\n') { "" } else { "\n" };
        assert_eq!(head, format!("{kept}{newline}"));
        assert!(all.ends_with(tail));
    }
}

#[test]
fn a_limit_without_room_for_both_keeps_the_head() {
    for (limit, expected) in [(0, ""), (6, "abcdef"), (63, "abcdef")] {
        let text = "abcdef".repeat(100);
        let shown = cut(text.as_bytes(), limit);
        assert!(shown.is_cut && shown.text.len() as u64 == limit);
        assert!(shown.text.starts_with(expected), "{}", shown.text);
    }
}

#[test]
fn neither_cut_splits_a_character() {
    for character in ["ä", "€", "😀"] {
        // Each offset of both cuts within a character.
        for prefix in 0..4 {
            for suffix in 0..4 {
                let text = format!(
                    "{}{}{}",
                    "x".repeat(prefix),
                    character.repeat(1000),
                    "y".repeat(suffix)
                );
                let shown = cut(text.as_bytes(), 301);
                assert!(!shown.is_lossy && shown.text.len() <= 301);
                let (head, tail) = shown.text.split_once("\n[… ").unwrap();
                let (_, tail) = tail.split_once("]\n").unwrap();
                assert!(text.starts_with(head) && text.ends_with(tail));
            }
        }
    }
}

#[test]
fn invalid_utf8_is_replaced_and_reported() {
    let shown = cut(&[0xff; 5000], 1000);
    assert!(shown.is_lossy && shown.is_cut);
    let replaced = shown.text.matches('\u{fffd}').count();
    assert!((900..=1000).contains(&replaced), "{replaced}");
}

#[test]
fn neither_cut_splits_an_escape_sequence() {
    for escape in [
        "\x1b[1;38;5;196m",
        "\x1b]8;;https://example.com/a\x1b\\",
        "\x1b]0;title\x07",
        "\x1b(B",
        "\x1bM",
    ] {
        for prefix in 0..escape.len() {
            let text = format!("{}{}", "x".repeat(prefix), escape.repeat(500));
            let shown = cut(text.as_bytes(), 400).text;
            let (head, tail) = shown.split_once("\n[… ").unwrap();
            let (_, tail) = tail.split_once("]\n").unwrap();
            let head = head.trim_start_matches('x');
            assert_eq!(head.replace(escape, ""), "", "{prefix}: {head:?}");
            assert_eq!(tail.replace(escape, ""), "", "{prefix}: {tail:?}");
        }
    }
}

#[test]
fn an_endless_escape_sequence_hides_nothing() {
    let text = format!("\x1b]{}", "x".repeat(10_000));
    let shown = cut(text.as_bytes(), 1000).text;
    assert!(shown.len() > 950 && shown.ends_with('x'), "{}", shown.len());
}

#[test]
fn a_record_that_lacks_bytes_says_so_at_its_end() {
    let stream = RecordedStream {
        bytes: &[b'x'; 5000],
        is_truncated: true,
        total: Some(7500),
    };
    let cut = OutputCut {
        limit: 1000,
        window: OutputWindow::HeadAndTail,
        can_look_up: false,
    };
    let shown = cut.show(stream);
    let end = "x\n[… 2500 more bytes were not recorded …]";
    assert!(shown.text.ends_with(end), "{}", shown.text);
    assert!(shown.text.len() <= 1000);
    let unknown = RecordedStream {
        total: None,
        ..stream
    };
    let end = "[… more bytes were not recorded …]";
    assert!(cut.show(unknown).text.ends_with(end));
    // A record within the limit is shown as it is; the fields of the result report the rest.
    let short = RecordedStream {
        bytes: b"x",
        ..stream
    };
    let shown = cut.show(short);
    assert_eq!((shown.text.as_str(), shown.is_cut), ("x", true));
}

#[test]
fn the_next_call_shows_the_whole_record() {
    let next = |limit, can_look_up, recorded| {
        let cut = OutputCut {
            limit,
            window: OutputWindow::HeadAndTail,
            can_look_up,
        };
        cut.next("ID", recorded)
    };
    let call = |bytes: u64| {
        let call = format!("get_operation(operation_id=\"ID\", truncate_output_at={bytes})");
        Some(call)
    };
    assert_eq!(next(8000, true, 9000), call(65_536));
    assert_eq!(next(8000, true, 900_000), call(900_000));
    assert_eq!(next(8000, true, 8000), None);
    assert_eq!(next(8000, false, 9000), None);
}
