//! What must hold between a C# program and a Rust one. Each case is a function that returns why it failed or,
//! if it passed, what else is worth knowing.

use std::fmt::Debug;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::peer::Side::{CSharp, Rust};
use super::peer::{Held, Peer, Place, Side, World, finish};

/// Something that must hold.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) run: fn(&World<'_>) -> Outcome,
}

type Outcome = Result<String, String>;

/// By name and in files.
pub(super) const COMMON: &[Case] = &[
    case("C# writes, Rust reads an entity and text", |world| entity_and_text(world, CSharp, Rust)),
    case("Rust writes, C# reads an entity and text", |world| entity_and_text(world, Rust, CSharp)),
    case("C# writes, 'handover get --plain' prints it", command_reads),
    case("'handover put --plain' writes, C# reads", command_writes),
    case("C# escapes, Rust reads what was meant", escapes),
    case("text of all scripts, unescaped, both ways", all_scripts),
    case("every kind of JSON value, both ways", samples),
    case("a shorter value leaves no tail, whoever wrote before", no_tail),
    case("a C# program that does not clear the tail", untidy),
    case("a C# program that begins with a byte order mark", byte_order_mark),
    case("a value that has no room leaves the old one", no_room),
    case("an empty map is no value and empty text", empty),
    case("a map of one byte, and one without a byte to spare", tight),
    case("a map from C# is no cell", no_cell),
    case("Rust reads while C# writes without a lock", |world| side_by_side(world, CSharp, Rust)),
    case("C# reads without a lock while Rust writes", |world| side_by_side(world, Rust, CSharp)),
    case("Rust reads while Rust writes", |world| side_by_side(world, Rust, Rust)),
];

/// Only in files, where both sides may have them open.
pub(super) const FILES: &[Case] = &[
    case("the C# program is gone before the Rust one comes", |world| gone_before(world, CSharp, Rust)),
    case("the Rust program is gone before the C# one comes", |world| gone_before(world, Rust, CSharp)),
    case("Rust makes a file from C# longer", file_grows),
    case("a capacity below the file's length is refused by C#, not by Rust", file_shrinks),
    case("a file without a byte", empty_file),
];

/// By name alone.
pub(super) const NAMES: &[Case] = &[
    case("the first capacity counts, rounded up to pages", first_capacity),
    case("the C# program is gone, and so is the name", |world| name_goes(world, CSharp, Rust)),
    case("the Rust program is gone, and so is the name", |world| name_goes(world, Rust, CSharp)),
    case("the C# program is gone, and Rust holds the name", |world| name_stays(world, CSharp, Rust)),
    case("the Rust program is gone, and C# holds the name", |world| name_stays(world, Rust, CSharp)),
    case("'handover get --wait' starts before the C# program", waits),
    case("Local\\ is where names are without it", local),
    case("Global\\ is another place", global),
    case("names of all scripts, with spaces and slashes", names),
    case("names that differ by case are two", cases_of_names),
];

/// In files that one side closes before the other opens them: on Windows .NET keeps others from writing to a
/// file that it has open.
pub(super) const ONE_AFTER_THE_OTHER: &[Case] = &[
    case("C# writes and ends, Rust reads an entity and text", |world| gone_before(world, CSharp, Rust)),
    case("Rust writes and ends, C# reads an entity and text", |world| gone_before(world, Rust, CSharp)),
    case("a file that C# has open can be read only after it", sharing),
    case("a file without a byte", empty_file),
];

const fn case(name: &'static str, run: fn(&World<'_>) -> Outcome) -> Case {
    Case { name, run }
}

const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2ln+x/y==";
const CAPACITY: u64 = 4096;
const NOTHING: Outcome = Ok(String::new());

/// How .NET's `System.Text.Json` and `serde_json` write a token that has '+' in it.
fn json(side: Side, token: &str) -> String {
    let token = if side == CSharp { token.replace('+', "\\u002B") } else { token.to_owned() };
    format!("{{\"Bearer\":\"{token}\"}}")
}

/// A program that made a map at a new place.
fn creator(world: &World<'_>, side: Side) -> Result<(Peer, Place), String> {
    let place = world.place();
    let mut peer = world.start(side)?;
    peer.create(&place, CAPACITY)?;
    Ok((peer, place))
}

/// A program that made a map, and one of the other kind that opened it.
fn pair(world: &World<'_>, first: Side, second: Side) -> Result<(Peer, Peer, Place), String> {
    let (one, place) = creator(world, first)?;
    let mut other = world.start(second)?;
    other.open(&place)?;
    Ok((one, other, place))
}

fn must_be<T, U>(what: &str, found: &T, expected: &U) -> Result<(), String>
where
    T: PartialEq<U> + Debug + ?Sized,
    U: Debug + ?Sized,
{
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, and not {expected:?}")) }
}

fn entity_and_text(world: &World<'_>, from: Side, to: Side) -> Outcome {
    let (mut writer, mut reader, _) = pair(world, from, to)?;
    writer.ask(&["set", TOKEN])?;
    reader.must_give(&["get"], TOKEN)?;
    reader.must_give(&["text"], &json(from, TOKEN))?;
    writer.ask(&["set", "another"])?;
    reader.must_give(&["get"], "another")?;
    // And back, from the program that did not create it.
    reader.ask(&["set", "answer"])?;
    writer.must_give(&["get"], "answer")?;
    NOTHING
}

fn command_reads(world: &World<'_>) -> Outcome {
    let (mut writer, place) = creator(world, CSharp)?;
    writer.ask(&["set", TOKEN])?;
    let whole = finish(&mut world.handover("get", &place))?;
    must_be("the value", &whole, &(0, json(CSharp, TOKEN)))?;
    let part = finish(world.handover("get", &place).args(["--pointer", "/Bearer"]))?;
    must_be("a part", &part, &(0, TOKEN.to_owned()))?;
    NOTHING
}

fn command_writes(world: &World<'_>) -> Outcome {
    let place = world.place();
    let value = "{ \"Bearer\": \"сло́во+\u{1F600}\" }";
    let mut put = world.handover("put", &place);
    put.arg("-");
    let _held = if world.named {
        Some(Held::start(put.args(["--for", "5m"]), value)?)
    } else {
        let mut child = put.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(|e| e.to_string())?;
        std::io::Write::write_all(&mut child.stdin.take().ok_or("no pipe")?, value.as_bytes())
            .map_err(|e| e.to_string())?;
        must_be("handover put", &child.wait().map_err(|e| e.to_string())?.success(), &true)?;
        None
    };
    let mut reader = world.start(CSharp)?;
    reader.open(&place)?;
    reader.must_give(&["get"], "сло́во+\u{1F600}")?;
    reader.must_give(&["text"], value)?;
    NOTHING
}

fn escapes(world: &World<'_>) -> Outcome {
    let (mut writer, mut reader, _) = pair(world, CSharp, Rust)?;
    let token = "\"+<a href='x'>&`\\/é\u{1F600}\u{7f}";
    writer.ask(&["set", token])?;
    reader.must_give(
        &["text"],
        r#"{"Bearer":"\u0022\u002B\u003Ca href=\u0027x\u0027\u003E\u0026\u0060\\/\u00E9\uD83D\uDE00\u007F"}"#,
    )?;
    reader.must_give(&["get"], token)?;
    NOTHING
}

fn all_scripts(world: &World<'_>) -> Outcome {
    let (mut one, mut other, _) = pair(world, CSharp, Rust)?;
    let token = "é, ж, 中文, \u{1F600}, ไทย, \u{5d0}";
    let raw = format!("{{\"Bearer\":\"{token}\"}}");
    other.ask(&["set", token])?;
    one.must_give(&["text"], &raw)?;
    one.must_give(&["get"], token)?;
    // .NET still escapes what lies outside the first 65,536 characters.
    one.ask(&["set-relaxed", token])?;
    other.must_give(&["text"], &raw.replace('\u{1F600}', "\\uD83D\\uDE00"))?;
    other.must_give(&["get"], token)?;
    one.ask(&["put", token])?;
    other.must_give(&["text"], token)?;
    other.ask(&["put", token])?;
    one.must_give(&["text"], token)?;
    NOTHING
}

fn samples(world: &World<'_>) -> Outcome {
    let (mut one, mut other, _) = pair(world, CSharp, Rust)?;
    one.ask(&["set-sample"])?;
    other.must_give(&["get-sample"], "known")?;
    other.ask(&["set-sample"])?;
    one.must_give(&["get-sample"], "known")?;
    NOTHING
}

fn no_tail(world: &World<'_>) -> Outcome {
    let (mut one, mut other, _) = pair(world, CSharp, Rust)?;
    let long = "x".repeat(3000);
    for before in [CSharp, Rust] {
        for after in [CSharp, Rust] {
            for (side, token) in [(before, long.as_str()), (after, "short")] {
                if side == CSharp { one.ask(&["set", token]) } else { other.ask(&["set", token]) }?;
            }
            for reader in [&mut one, &mut other] {
                reader.must_give(&["get"], "short")?;
                reader.must_give(&["text"], &json(Rust, "short"))?;
            }
        }
    }
    NOTHING
}

fn untidy(world: &World<'_>) -> Outcome {
    let (mut one, mut other, _) = pair(world, CSharp, Rust)?;
    one.ask(&["put-untidily", &json(Rust, "a longer token")])?;
    other.must_give(&["get"], "a longer token")?;
    one.ask(&["put-untidily", &json(Rust, "short")])?;
    // Two values in one: an error, not a guess.
    other.must_fail(&["get"], "Decode")?;
    other.must_give(&["text"], "{\"Bearer\":\"short\"}r token\"}")?;
    one.must_fail(&["get"], "JsonException")?;
    other.ask(&["set", "new"])?;
    one.must_give(&["text"], &json(Rust, "new"))?;
    NOTHING
}

fn byte_order_mark(world: &World<'_>) -> Outcome {
    let (mut one, mut other, place) = pair(world, CSharp, Rust)?;
    one.ask(&["put-with-mark", &json(Rust, TOKEN)])?;
    other.must_give(&["get"], TOKEN)?;
    one.must_give(&["get"], TOKEN)?;
    let part = finish(world.handover("get", &place).args(["--pointer", "/Bearer"]))?;
    must_be("a part", &part, &(0, TOKEN.to_owned()))?;
    NOTHING
}

fn no_room(world: &World<'_>) -> Outcome {
    let (mut one, mut other, _) = pair(world, CSharp, Rust)?;
    let long = "x".repeat(CAPACITY as usize);
    one.ask(&["set", TOKEN])?;
    other.must_fail(&["set", &long], "ValueTooLarge")?;
    one.must_give(&["get"], TOKEN)?;
    one.must_fail(&["set", &long], "NotSupportedException")?;
    other.must_give(&["get"], TOKEN)?;
    NOTHING
}

fn empty(world: &World<'_>) -> Outcome {
    let (_one, mut other, place) = pair(world, CSharp, Rust)?;
    other.must_fail(&["get"], "NoValue")?;
    must_be("handover get", &finish(&mut world.handover("get", &place))?, &(5, String::new()))?;
    let (_other, mut one, _) = pair(world, Rust, CSharp)?;
    one.must_give(&["text"], "")?;
    NOTHING
}

fn tight(world: &World<'_>) -> Outcome {
    let text = json(Rust, "tight");
    for (first, second) in [(CSharp, Rust), (Rust, CSharp)] {
        for value in ["7", &text] {
            let place = world.place();
            let mut one = world.start(first)?;
            one.create(&place, value.len() as u64)?;
            one.ask(&["put", value])?;
            let mut other = world.start(second)?;
            other.open(&place)?;
            other.must_give(&["text"], value)?;
            if value.len() > 1 {
                other.must_give(&["get"], "tight")?;
            }
            if !world.named {
                other.must_give(&["capacity"], &value.len().to_string())?;
            }
        }
    }
    NOTHING
}

fn no_cell(world: &World<'_>) -> Outcome {
    let (mut one, mut other, place) = pair(world, CSharp, Rust)?;
    one.ask(&["set", TOKEN])?;
    other.must_fail(&[place.opening_as_cell(), &place.word], "WrongKind")?;
    one.must_give(&["get"], TOKEN)?;
    NOTHING
}

/// One side writes for half a second, the other reads. A C# program does not know the plain layout's lock, so
/// a read can return half of one value and half of another. Nothing else may go wrong, and with Rust at both
/// ends not even that.
fn side_by_side(world: &World<'_>, from: Side, to: Side) -> Outcome {
    let (mut writer, mut reader, _) = pair(world, from, to)?;
    let (long, short) = ("a".repeat(3000), "b".repeat(20));
    writer.ask(&["set", &short])?;
    writer.send(&["rewrite", &long, &short, "500"])?;
    let read = reader.ask(&["reread", &long, &short, "400"])?;
    let rounds = writer.answer()??;
    reader.must_give(&["get"], &short)?;
    let counts: Vec<u64> = read.split(' ').filter_map(|count| count.parse().ok()).collect();
    let [whole, refused, mixed] = counts[..] else { return Err(format!("counts: {read}")) };
    if whole == 0 {
        return Err(format!("nothing was read whole: {read}"));
    }
    if (from, to) == (Rust, Rust) {
        must_be("reads that were not whole", &(refused + mixed), &0)?;
    }
    Ok(format!("; {rounds}×2 writes, {whole} whole reads, {refused} no JSON, {mixed} mixed"))
}

fn gone_before(world: &World<'_>, from: Side, to: Side) -> Outcome {
    for end in [Peer::end, Peer::kill] {
        let (mut writer, place) = creator(world, from)?;
        writer.ask(&["set", TOKEN])?;
        end(writer)?;
        let mut reader = world.start(to)?;
        reader.open(&place)?;
        reader.must_give(&["get"], TOKEN)?;
        reader.must_give(&["text"], &json(from, TOKEN))?;
        reader.ask(&["set", "next"])?;
        reader.end()?;
        let mut writer = world.start(from)?;
        writer.open(&place)?;
        writer.must_give(&["get"], "next")?;
    }
    NOTHING
}

fn file_grows(world: &World<'_>) -> Outcome {
    let (mut one, place) = creator(world, CSharp)?;
    one.ask(&["set", TOKEN])?;
    let mut other = world.start(Rust)?;
    other.create(&place, 2 * CAPACITY + 1)?;
    other.must_give(&["get"], TOKEN)?;
    other.must_give(&["capacity"], &(2 * CAPACITY + 1).to_string())?;
    other.ask(&["set", "in the larger one"])?;
    // Still the same bytes; this program sees the first of them.
    one.must_give(&["get"], "in the larger one")?;
    one.must_give(&["capacity"], &CAPACITY.to_string())?;
    one.open(&place)?;
    one.must_give(&["capacity"], &(2 * CAPACITY + 1).to_string())?;
    NOTHING
}

fn file_shrinks(world: &World<'_>) -> Outcome {
    let (_one, place) = creator(world, CSharp)?;
    let mut one = world.start(CSharp)?;
    one.must_fail(&["create-file", &place.word, "100"], "ArgumentOutOfRangeException")?;
    let mut other = world.start(Rust)?;
    other.create(&place, 100)?;
    other.must_give(&["capacity"], &CAPACITY.to_string())?;
    NOTHING
}

fn empty_file(world: &World<'_>) -> Outcome {
    let place = world.place();
    fs::write(&place.file, "").map_err(|e| e.to_string())?;
    must_be("handover get", &finish(&mut world.handover("get", &place))?, &(5, String::new()))?;
    world.start(CSharp)?.must_fail(&["open-file", &place.word], "ArgumentException")?;
    NOTHING
}

fn sharing(world: &World<'_>) -> Outcome {
    let (mut one, place) = creator(world, CSharp)?;
    one.ask(&["set", TOKEN])?;
    let mut other = world.start(Rust)?;
    other.must_fail(&["open-file", &place.word], "SharingViolation")?;
    one.end()?;
    other.open(&place)?;
    other.must_give(&["get"], TOKEN)?;
    NOTHING
}

fn first_capacity(world: &World<'_>) -> Outcome {
    for (first, second) in [(CSharp, Rust), (Rust, CSharp)] {
        for (capacity, later) in [(100, 100_000), (100_000, 100)] {
            let place = world.place();
            let mut one = world.start(first)?;
            one.create(&place, capacity)?;
            one.ask(&["set", TOKEN])?;
            let mut other = world.start(second)?;
            other.create(&place, later)?;
            other.must_give(&["get"], TOKEN)?;
            other.must_give(&["capacity"], &capacity.next_multiple_of(4096).to_string())?;
            other.ask(&["set", "back"])?;
            one.must_give(&["get"], "back")?;
        }
    }
    NOTHING
}

/// Waits until it is so: a killed process releases the file a moment after the kill.
fn soon(mut attempt: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(_) if start.elapsed() < Duration::from_secs(10) => {
                std::thread::sleep(Duration::from_millis(20));
            }
            outcome => return outcome,
        }
    }
}

fn not_found(side: Side) -> &'static str {
    if side == CSharp { "FileNotFoundException" } else { "NotFound" }
}

fn name_goes(world: &World<'_>, from: Side, to: Side) -> Outcome {
    for end in [Peer::end, Peer::kill] {
        let (mut writer, place) = creator(world, from)?;
        writer.ask(&["set", TOKEN])?;
        end(writer)?;
        let mut reader = world.start(to)?;
        soon(|| reader.must_fail(&[place.opening(), &place.word], not_found(to)))?;
        must_be("handover get", &finish(&mut world.handover("get", &place))?, &(3, String::new()))?;
        // A program that creates it now starts with nothing.
        reader.create(&place, CAPACITY)?;
        let (kind, request) = if to == CSharp { ("JsonException", "get") } else { ("NoValue", "text") };
        reader.must_fail(&[request], kind)?;
    }
    NOTHING
}

fn name_stays(world: &World<'_>, from: Side, to: Side) -> Outcome {
    for end in [Peer::end, Peer::kill] {
        let (mut writer, mut reader, place) = pair(world, from, to)?;
        writer.ask(&["set", TOKEN])?;
        end(writer)?;
        reader.must_give(&["get"], TOKEN)?;
        let mut again = world.start(from)?;
        again.open(&place)?;
        again.must_give(&["get"], TOKEN)?;
    }
    NOTHING
}

fn waits(world: &World<'_>) -> Outcome {
    let place = world.place();
    let waiting = world
        .handover("get", &place)
        .args(["--wait", "30s"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| e.to_string())?;
    let mut writer = world.start(CSharp)?;
    writer.create(&place, CAPACITY)?;
    writer.ask(&["set", TOKEN])?;
    let output = waiting.wait_with_output().map_err(|e| e.to_string())?;
    must_be("handover get", &String::from_utf8_lossy(&output.stdout), &json(CSharp, TOKEN))?;
    NOTHING
}

fn local(world: &World<'_>) -> Outcome {
    for (first, second) in [(CSharp, Rust), (Rust, CSharp)] {
        for prefixed in [first, second] {
            let plain = world.place();
            let place = Place::named(&format!("Local\\{}", plain.word));
            let of = |side| if side == prefixed { &place } else { &plain };
            let mut one = world.start(first)?;
            one.create(of(first), CAPACITY)?;
            one.ask(&["set", TOKEN])?;
            let mut other = world.start(second)?;
            other.open(of(second))?;
            other.must_give(&["get"], TOKEN)?;
        }
    }
    NOTHING
}

fn global(world: &World<'_>) -> Outcome {
    for (first, second) in [(CSharp, Rust), (Rust, CSharp)] {
        let local = world.place();
        let place = Place::named(&format!("Global\\{}", local.word));
        let mut one = world.start(first)?;
        one.create(&place, CAPACITY)?;
        one.ask(&["set", TOKEN])?;
        let mut other = world.start(second)?;
        other.open(&place)?;
        other.must_give(&["get"], TOKEN)?;
        must_be("the value", &finish(&mut world.handover("get", &place))?, &(0, json(first, TOKEN)))?;
        other.must_fail(&[local.opening(), &local.word], not_found(second))?;
    }
    NOTHING
}

fn names(world: &World<'_>) -> Outcome {
    for (first, second) in [(CSharp, Rust), (Rust, CSharp)] {
        for name in ["a b/c: {}", "имя 中文 \u{1F600} {}", "local/{}"] {
            let place = Place::named(&name.replace("{}", &world.place().word));
            let mut one = world.start(first)?;
            one.create(&place, CAPACITY)?;
            one.ask(&["set", TOKEN])?;
            let mut other = world.start(second)?;
            other.open(&place)?;
            other.must_give(&["get"], TOKEN)?;
            must_be("the value", &finish(&mut world.handover("get", &place))?, &(0, json(first, TOKEN)))?;
        }
    }
    NOTHING
}

fn cases_of_names(world: &World<'_>) -> Outcome {
    let lower = world.place();
    let upper = Place::named(&lower.word.to_uppercase());
    let mut one = world.start(CSharp)?;
    one.create(&lower, CAPACITY)?;
    let mut other = world.start(Rust)?;
    other.must_fail(&[upper.opening(), &upper.word], "NotFound")?;
    other.create(&upper, CAPACITY)?;
    other.ask(&["set", "upper"])?;
    one.ask(&["set", "lower"])?;
    other.must_give(&["get"], "upper")?;
    one.must_give(&["get"], "lower")?;
    NOTHING
}
