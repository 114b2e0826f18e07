//! A version as one line of JSON: what `watch` and `get --json` print.
//!
//! ```text
//! {"version":2,"skipped":0,"codec":"JSON","written":"2026-01-01T00:00:00.000Z","value":{"Bearer":"…"}}
//! ```
//!
//! JSON stays as it was stored, without the whitespace between its tokens: no number changes, and no line
//! breaks. Text is a string. Other bytes are in base64, marked with `"encoding":"base64"`. `get` and `watch`
//! rely on it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use handover::codec::{Json, Text, Untyped, Zeroizing};
use serde::de::IgnoredAny;
use serde_json::json;

/// A line, wiped when it is dropped.
type Line = Zeroizing<Vec<u8>>;

/// The line for a version; one without a value was taken or removed, or has expired. Its memory never grows:
/// a vector that grows leaves its old memory as it was.
pub(crate) fn line(version: u64, skipped: Option<u64>, value: Option<&Untyped>) -> Line {
    const WITHOUT_VALUE: usize = 4096;
    let length = value.map_or(0, |value| value.bytes.len());
    // A byte of text takes six at most, as \u0000.
    let mut line = Zeroizing::new(Vec::with_capacity(WITHOUT_VALUE + 6 * length));
    put(&mut line, &format!("{{\"version\":{version}"));
    if let Some(skipped) = skipped {
        put(&mut line, &format!(",\"skipped\":{skipped}"));
    }
    match value {
        None => put(&mut line, ",\"codec\":null"),
        Some(value) => {
            put(&mut line, &format!(",\"codec\":{}", json!(value.codec_name())));
            if let Some(name) = &value.type_name {
                put(&mut line, &format!(",\"type\":{}", json!(name)));
            }
            if let Some(at) = value.written {
                put(&mut line, &format!(",\"written\":\"{}\"", humantime::format_rfc3339_millis(at)));
            }
            if let Some(at) = value.expires {
                put(&mut line, &format!(",\"expires\":\"{}\"", humantime::format_rfc3339_millis(at)));
            }
            put_value(&mut line, value);
        }
    }
    put(&mut line, "}\n");
    line
}

fn put(line: &mut Line, text: &str) {
    line.extend_from_slice(text.as_bytes());
}

fn put_value(line: &mut Line, value: &Untyped) {
    let bytes = if value.codec == Json::ID { Json::without_mark(&value.bytes) } else { &value.bytes };
    match (value.codec, str::from_utf8(bytes)) {
        (Json::ID, Ok(text)) if serde_json::from_str::<IgnoredAny>(text).is_ok() => {
            put(line, ",\"value\":");
            put_compact(line, text);
        }
        (Text::ID, Ok(text)) => {
            put(line, ",\"value\":");
            serde_json::to_writer(&mut **line, text).expect("text can be written to memory");
        }
        _ => {
            let mut encoded = Zeroizing::new(String::with_capacity(value.bytes.len().div_ceil(3) * 4));
            BASE64.encode_string(&value.bytes, &mut encoded);
            put(line, ",\"encoding\":\"base64\",\"value\":\"");
            put(line, &encoded);
            put(line, "\"");
        }
    }
}

/// JSON without the whitespace between its tokens.
fn put_compact(line: &mut Line, json: &str) {
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        if in_string || !byte.is_ascii_whitespace() {
            line.push(byte);
        }
        if escaped {
            escaped = false;
        } else if byte == b'"' {
            in_string = !in_string;
        } else {
            escaped = in_string && byte == b'\\';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whitespace_between_tokens_goes() {
        for (json, compact) in [
            ("{ \"a b\" : [ 1.0 ,\n\t1e400 ] }\r\n", "{\"a b\":[1.0,1e400]}"),
            (r#" "a \" b \\" "#, r#""a \" b \\""#),
            (r#"{"\\" : " \\\" "}"#, r#"{"\\":" \\\" "}"#),
        ] {
            let mut line = Zeroizing::new(Vec::new());
            put_compact(&mut line, json);
            assert_eq!(str::from_utf8(&line), Ok(compact));
        }
    }
}
