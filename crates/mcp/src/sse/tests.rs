//! Event streams, whole and split everywhere.

use proptest::prelude::*;

use super::*;

const LIMITS: ScanLimits = ScanLimits {
    max_depth: 64,
    max_name_bytes: 128,
};

fn visible(item: Item<'_>) -> bool {
    let (Item::Tool(name)
    | Item::Prompt(name)
    | Item::Resource(name)
    | Item::Template(name)
    | Item::Task(name)) = item;
    !name.starts_with('x')
}

/// The stream after the filter, fed in the given pieces.
fn through(pieces: &[&[u8]], max: usize) -> Result<Vec<u8>, FilterError> {
    let mut filter = SseFilter::new(max, LIMITS);
    let mut out = Vec::new();
    for piece in pieces {
        filter.push(piece, &mut out, &mut visible)?;
    }
    filter.finish(&mut out, &mut visible)?;
    Ok(out)
}

fn whole(stream: &str) -> String {
    let out = through(&[stream.as_bytes()], 4096).expect("a stream");
    String::from_utf8(out).expect("UTF-8")
}

#[track_caller]
fn assert_passes(stream: &str) {
    assert_eq!(whole(stream), stream);
    assert_every_split(stream);
}

#[track_caller]
fn assert_becomes(stream: &str, expected: &str) {
    assert_eq!(whole(stream), expected);
    assert_every_split(stream);
}

#[track_caller]
fn assert_every_split(stream: &str) {
    let bytes = stream.as_bytes();
    let expected = through(&[bytes], 4096);
    for at in 0..=bytes.len() {
        let (head, tail) = bytes.split_at(at);
        assert_eq!(through(&[head, tail], 4096), expected, "split at {at}");
        assert_eq!(
            through(&[head, b"", tail], 4096),
            expected,
            "split at {at}, with nothing between"
        );
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(through(&single, 4096), expected, "byte by byte");
}

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"},{"name":"x"}],"cacheScope":"public"}}"#;
const SHORT: &str =
    r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"}],"cacheScope":"private"}}"#;

#[test]
fn res_002_lists_in_events_are_filtered() {
    assert_becomes(&format!("data: {LIST}\n\n"), &format!("data: {SHORT}\n\n"));
    assert_becomes(
        &format!("event: message\nid: 7\ndata: {LIST}\nretry: 5\n\n"),
        &format!("event: message\nid: 7\ndata: {SHORT}\nretry: 5\n\n"),
    );
}

#[test]
fn res_003_every_line_end_and_split_is_understood() {
    for end in ["\n", "\r", "\r\n"] {
        let stream = format!("id: 1{end}data:{LIST}{end}{end}:ping{end}data: {LIST}{end}{end}");
        let expected = format!("id: 1{end}data:{SHORT}{end}{end}:ping{end}data: {SHORT}{end}{end}");
        assert_becomes(&stream, &expected);
    }
    assert_becomes(
        &format!("data: {LIST}\r\n\ndata: {LIST}\r\r\ndata: {LIST}\n\r"),
        &format!("data: {SHORT}\r\n\ndata: {SHORT}\r\r\ndata: {SHORT}\n\r"),
    );
}

#[test]
fn res_003_data_over_several_lines_is_one_message() {
    let stream = "data: {\"result\":{\"tools\":[{\"name\":\ndata:\"x\"},\n:between\ndata: {\"name\":\"a\"}\ndata:]}}\nid: 9\n\n";
    let expected = "data: {\"result\":{\"tools\":[{\"name\":\"a\"} ]}}\n:between\nid: 9\n\n";
    assert_becomes(stream, expected);
    let crlf = stream.replace('\n', "\r\n");
    assert_becomes(&crlf, &expected.replace('\n', "\r\n"));
    assert_passes("data: {\ndata\ndata: \"result\":{}}\n\n");
    assert_becomes(
        &format!("\u{feff}data\nid: 1\ndata: {LIST}\n\n"),
        &format!("\u{feff}data: {SHORT}\nid: 1\n\n"),
    );
}

#[test]
fn a_data_line_that_goes_takes_no_other_line_along() {
    let data = "data:{\"result\":{\"tools\":[{\"name\":\"x\"}]}}";
    let empty = "data: {\"result\":{\"tools\":[]}}";
    for (stream, expected) in [
        (
            format!("data\n:\r{data}\r\n\n"),
            format!("{empty}\n:\r\n\n"),
        ),
        (format!("data\r{data}\n\n"), format!("{empty}\r\n\n")),
        (format!("data\r{data}\ndata\n\n"), format!("{empty}\r\n\n")),
        (format!("data\r{data}\r\r"), format!("{empty}\r\r")),
    ] {
        let (passed, expected) = (events(&whole(&stream)), events(&expected));
        assert_eq!(passed.len(), 1, "{stream:?}");
        assert_eq!(passed[0].trim(), expected[0].trim(), "{stream:?}");
        assert_every_split(&stream);
    }
}

#[test]
fn what_needs_no_change_stays_byte_for_byte() {
    assert_passes("data:  { \"result\" : {} } \nid:5\nretry\n\n");
    assert_passes("event: message\r\ndata: {\"error\":\r\ndata: 1}\r\n\r\n");
    assert_passes(&format!("data: {SHORT}\n\n"));
    assert_passes("\n\n\r\n\r");
    assert_passes("");
}

#[test]
fn fields_without_a_meaning_become_comments() {
    for end in ["\n", "\r", "\r\n"] {
        for unknown in [
            "DATA: x",
            "Data:x",
            "data\u{feff}: x",
            "dataX",
            "foo: x",
            " data: x",
        ] {
            let before = format!("{unknown}{end}id: 1{end}data: {SHORT}{end}{end}");
            let behind = format!("id: 1{end}data: {SHORT}{end}{unknown}{end}{end}");
            let alone = format!("{unknown}{end}{end}id: 1{end}data: {SHORT}{end}{end}");
            let event = format!("id: 1{end}data: {SHORT}{end}");
            assert_becomes(&before, &format!(":{end}{event}{end}"));
            assert_becomes(&behind, &format!("{event}:{end}{end}"));
            assert_becomes(&alone, &format!(":{end}{end}{event}{end}"));
        }
    }
}

#[test]
fn what_becomes_a_comment_does_not_join_line_ends() {
    // Without the line between, CR and LF would be one end, and the blank line
    // that ends the event would be gone.
    assert_becomes(
        &format!("data: {LIST}\n:\rdataX: 1\n\n"),
        &format!("data: {SHORT}\n:\r:\n\n"),
    );
    assert_becomes(
        &format!("data: {SHORT}\rdataX: 1\n\n"),
        &format!("data: {SHORT}\r:\n\n"),
    );
}

#[test]
fn events_without_data_pass() {
    assert_passes("id: 1\ndata:\n\n");
    assert_passes("id: 1\ndata: \n\n");
    assert_passes("data\n\n");
    assert_passes("retry: 100\n\nevent: x\nid: 2\n\n");
}

#[test]
fn a_byte_order_mark_may_start_the_stream() {
    assert_becomes(
        &format!("\u{feff}data: {LIST}\n\n"),
        &format!("\u{feff}data: {SHORT}\n\n"),
    );
    assert_passes("\u{feff}\n\n");
    assert_passes("\u{feff}: x\n\n");
    assert_becomes(
        "\n\u{feff}data: no field, as the mark is not at the start\n\n",
        "\n:\n\n",
    );
}

#[test]
fn comments_between_events_pass_at_once() {
    let mut filter = SseFilter::new(4096, LIMITS);
    let mut out = Vec::new();
    filter
        .push(b": ping\n", &mut out, &mut visible)
        .expect("a comment");
    assert_eq!(out, b": ping\n");
    filter
        .push(b":\r", &mut out, &mut visible)
        .expect("a comment");
    assert_eq!(out, b": ping\n:\r");
    filter
        .push(
            b"\n\r\ndata: {\"result\":{}}\n: inside\n",
            &mut out,
            &mut visible,
        )
        .expect("half an event");
    assert_eq!(
        out, b": ping\n:\r\n\r\n",
        "a comment inside an event waits for it"
    );
    filter.push(b"\n", &mut out, &mut visible).expect("the end");
    assert_eq!(out, b": ping\n:\r\n\r\ndata: {\"result\":{}}\n: inside\n\n");
}

#[test]
fn an_event_passes_with_its_blank_line_and_not_before() {
    let mut filter = SseFilter::new(4096, LIMITS);
    let mut out = Vec::new();
    filter
        .push(b"data: {\"result\":{}}\r\n", &mut out, &mut visible)
        .expect("half an event");
    assert!(out.is_empty());
    filter.push(b"\r", &mut out, &mut visible).expect("the end");
    assert_eq!(out, b"data: {\"result\":{}}\r\n\r");
    filter
        .push(b"\n", &mut out, &mut visible)
        .expect("the rest of the end");
    assert_eq!(out, b"data: {\"result\":{}}\r\n\r\n");
}

#[test]
fn an_event_that_never_ends_is_never_passed_on() {
    for stream in [
        "data: {\"result\":{}}",
        "data: {\"result\":{}}\n",
        "data: {\"result\":{}}\r",
        ": half a comment",
        "id: 1\ndata: {\"result\":{}}\r\n",
    ] {
        assert_becomes(stream, "");
        assert_becomes(
            &format!("data: {SHORT}\n\n{stream}"),
            &format!("data: {SHORT}\n\n"),
        );
    }
}

#[test]
fn notices_about_what_may_not_be_seen_are_left_out_whole() {
    let updated = |uri: &str| {
        format!(
            "id: {uri}\r\ndata: {{\"method\":\"notifications/resources/updated\",\"params\":{{\"uri\":\"{uri}\"}}}}\r\n\r\n"
        )
    };
    let (seen, hidden) = (updated("a:1"), updated("x:1"));
    assert_becomes(
        &format!("{seen}{hidden}{seen}:c\n"),
        &format!("{seen}{seen}:c\n"),
    );
    assert_becomes(&hidden.replace("\r\n", "\r"), "");
}

#[test]
fn data_that_is_no_message_breaks_the_stream_off() {
    for data in [
        "x",
        "1",
        "{",
        "{}{}",
        "/messages?sessionId=1",
        "[1]",
        "{\"a\":1,\"a\":2}",
        "\u{fffd}",
        "{}\ndata: {}",
    ] {
        let stream = format!("data: {{}}\n\ndata: {data}\n\n");
        let refused = through(&[stream.as_bytes()], 4096);
        assert!(matches!(refused, Err(FilterError::Malformed(_))), "{data}");
        assert_every_split(&stream);
    }
    assert!(through(&[b"data: {\"a\":\"\xff\"}\n\n"], 4096).is_err());
}

#[test]
fn res_007_events_are_bounded_on_both_sides() {
    let event = |size: usize| {
        let frame = "data: {\"error\":\"\"}\n\n".len();
        format!("data: {{\"error\":\"{}\"}}\n\n", "b".repeat(size - frame))
    };
    let twice = |size: usize| format!("{0}:comment\n\n{0}", event(size));
    let max = 100;
    for stream in [event(max), twice(max)] {
        assert_eq!(
            through(&[stream.as_bytes()], max),
            Ok(stream.clone().into_bytes())
        );
        let mut meter = SseMeter::new(max);
        assert_eq!(meter.push(stream.as_bytes()), Ok(()));
    }
    for stream in [
        event(max + 1),
        twice(max + 1),
        "x".repeat(max + 1),
        format!(":{}", "x".repeat(max)),
    ] {
        let refused = through(&[stream.as_bytes()], max);
        assert_eq!(refused, Err(FilterError::EventTooLarge { max }), "{stream}");
        let mut meter = SseMeter::new(max);
        let result = stream
            .as_bytes()
            .chunks(1)
            .try_for_each(|byte| meter.push(byte));
        assert_eq!(result, Err(FilterError::EventTooLarge { max }), "{stream}");
    }
    let many_lines = "data: 1\n".repeat(100);
    assert!(through(&[many_lines.as_bytes()], 799).is_err());
    assert!(SseMeter::new(799).push(many_lines.as_bytes()).is_err());
}

#[test]
fn comments_alone_never_add_up() {
    let comments = ":\r\n".repeat(1000);
    assert_eq!(
        through(&[comments.as_bytes()], 10),
        Ok(comments.clone().into_bytes())
    );
    assert_eq!(SseMeter::new(10).push(comments.as_bytes()), Ok(()));
}

#[test]
fn a_new_task_is_reported_once() {
    let mut filter = SseFilter::new(4096, LIMITS);
    let mut out = Vec::new();
    let stream = b"data: {\"result\":{\"task\":{\"taskId\":\"t1\"}}}\n\ndata: {\"result\":{}}\n\n";
    filter
        .push(stream, &mut out, &mut visible)
        .expect("a stream");
    assert_eq!(filter.take_created_task().as_deref(), Some("t1"));
    assert_eq!(filter.take_created_task(), None);
    assert_eq!(out, stream);
}

fn line_end() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["\n", "\r", "\r\n"])
}

fn line() -> impl Strategy<Value = String> {
    let content = prop::sample::select(vec![
        "",
        "",
        "",
        ":",
        ": comment",
        "id: 1",
        "id",
        "event: message",
        "retry: 10",
        "data",
        "data:",
        "data: {}",
        "data:{\"result\":{\"tools\":[{\"name\":\"x\"}]}}",
        "data: {\"result\":{\"tools\":[{\"name\":\"x\"},{\"name\":\"a\"}]}}",
        "data: {\"method\":\"notifications/tasks\",\"params\":{\"taskId\":\"x\"}}",
        "data: [",
        "data: ]",
        "data: broken",
        "dataX: 1",
        "\u{feff}",
    ]);
    (content, line_end()).prop_map(|(content, end)| format!("{content}{end}"))
}

/// A naive reader of events, by the book: the data of each event.
fn events(stream: &str) -> Vec<String> {
    let stream = stream.strip_prefix('\u{feff}').unwrap_or(stream);
    let lines = stream.replace("\r\n", "\n").replace('\r', "\n");
    let mut events = Vec::new();
    let mut data = Vec::new();
    let Some((complete, _)) = lines.rsplit_once('\n') else {
        return events;
    };
    for line in complete.split('\n') {
        if line.is_empty() {
            let event = std::mem::take(&mut data).join("\n");
            if !event.is_empty() {
                events.push(event);
            }
        } else if line == "data" {
            data.push(String::new());
        } else if let Some(value) = line.strip_prefix("data:") {
            data.push(value.strip_prefix(' ').unwrap_or(value).to_owned());
        }
    }
    events
}

proptest! {
    #[test]
    fn splits_change_nothing(
        lines in prop::collection::vec(line(), 0..16),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        max in 1_usize..200,
    ) {
        let stream = lines.concat();
        let bytes = stream.as_bytes();
        let expected = through(&[bytes], max);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(through(&pieces, max), expected);
        let mut whole = SseMeter::new(max);
        let mut split = SseMeter::new(max);
        let by_pieces = pieces.iter().try_for_each(|piece| split.push(piece));
        prop_assert_eq!(whole.push(bytes), by_pieces);
    }

    #[test]
    fn a_reader_sees_each_event_filtered_and_none_else(lines in prop::collection::vec(line(), 0..16)) {
        let stream = lines.concat();
        let filter_one = |data: &String| {
            let mut out = Vec::new();
            match filter(data.as_bytes(), LIMITS, &mut out, &mut visible) {
                Ok(Verdict::Pass(_)) => Ok(Some(String::from_utf8(out).expect("UTF-8"))),
                Ok(Verdict::Drop) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let expected: Result<Vec<_>, _> =
            events(&stream).iter().filter_map(|data| filter_one(data).transpose()).collect();
        let passed = through(&[stream.as_bytes()], 4096);
        prop_assert_eq!(passed.is_ok(), expected.is_ok());
        if let (Ok(passed), Ok(expected)) = (passed, expected) {
            let passed = events(&String::from_utf8(passed).expect("UTF-8"));
            // White space before the message is not worth keeping.
            let flat = |data: &String| data.replace('\n', " ").trim_start().to_owned();
            prop_assert_eq!(
                passed.iter().map(flat).collect::<Vec<_>>(),
                expected.iter().map(flat).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), max in 0_usize..50) {
        let _ = through(&[&bytes], max);
        let _ = SseMeter::new(max).push(&bytes);
    }
}
