//! The programs in `examples/`: their producers are killed and started again, and their clients go on.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use handover_tests::{HANG, OwnDir, Start, own_dir};

/// A process of an example; it is killed with the value.
struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    fn start(program: &str, arguments: &[&str], directory: &OwnDir) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).env("HANDOVER_DIR", directory.path()).stdout(Stdio::piped());
        let mut child = command.start().unwrap();
        let output = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Reads lines until one begins with `text`, and gives it.
    #[track_caller]
    fn says(&self, text: &str) -> String {
        loop {
            match self.lines.recv_timeout(HANG) {
                Ok(line) if line.starts_with(text) => return line,
                Ok(_) => {}
                Err(error) => panic!("it never says {text:?}: {error}"),
            }
        }
    }

    /// Reads a line, which begins with `text`.
    #[track_caller]
    fn says_next(&self, text: &str) -> String {
        let line = self.lines.recv_timeout(HANG).unwrap();
        assert!(line.starts_with(text), "{line:?} does not begin with {text:?}");
        line
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // On Unix this is SIGKILL.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn number(line: &str) -> u64 {
    let digits = line.split(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty());
    digits.unwrap().parse().unwrap()
}

#[test]
fn three_clients_of_a_token_daemon_see_its_restarts_and_its_tokens() {
    let directory = own_dir();
    let program = env!("CARGO_BIN_EXE_token_daemon");
    let clients = [(); 3].map(|()| Program::start(program, &["client"], &directory));
    let mut last = [0; 3];
    for run in 0..3 {
        let daemon = Program::start(program, &["daemon"], &directory);
        for (client, last) in clients.iter().zip(&mut last) {
            if run > 0 {
                // Where everything is slow, the last token may expire before.
                client.says("the daemon is back");
            }
            for _ in 0..3 {
                let version = number(&client.says_next("version "));
                assert!(version > *last, "the versions of a restarted daemon go on");
                *last = version;
            }
        }
        drop(daemon);
        for client in &clients {
            client.says("the daemon has gone");
        }
    }
}

#[test]
fn a_server_takes_over_each_configuration_and_keeps_the_last_one() {
    let directory = own_dir();
    let program = env!("CARGO_BIN_EXE_config_reload");
    let server = Program::start(program, &["server"], &directory);
    let first = Program::start(program, &["set", "8080"], &directory);
    let line = server.says_next("after 0 requests");
    assert!(line.ends_with("Some(Serve { at: Tcp(8080), rotate_log: Some(3600s) })"), "{line}");
    let second = Program::start(program, &["set", "/run/example"], &directory);
    assert!(server.says_next("after ").contains(r#"at: Unix("/run/example")"#));
    drop((first, second));
    server.says_next("WriterGone: the configuration stays");
    let _third = Program::start(program, &["set", "off"], &directory);
    server.says_next("WriterBack: ");
    assert!(server.says_next("after ").ends_with("Some(Off)"));
}

#[test]
fn two_screens_see_whole_frames_of_each_camera() {
    let directory = own_dir();
    let program = env!("CARGO_BIN_EXE_video_frames");
    let screens = [(); 2].map(|()| Program::start(program, &["screen"], &directory));
    let mut last = [0; 2];
    for _ in 0..3 {
        let camera = Program::start(program, &["camera"], &directory);
        for (screen, last) in screens.iter().zip(&mut last) {
            screen.says_next("there is a camera");
            for _ in 0..3 {
                let line = screen.says_next("frame ");
                assert!(line.contains("8294400 bytes"), "{line}");
                assert!(number(&line) > *last, "the versions of a restarted camera go on");
                *last = number(&line);
            }
        }
        drop(camera);
        for screen in &screens {
            screen.says("the camera has gone");
        }
    }
}
