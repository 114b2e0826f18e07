//! The benchmark's program: see the library.

fn main() -> std::process::ExitCode {
    handover_bench::main()
}
