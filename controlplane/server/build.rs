//! Says what the binary is built from besides Rust: the page and the migrations, files that come and go among them.

fn main() {
    let mut out = std::io::stdout();
    for folder in ["../web/dist", "migrations"] {
        std::io::Write::write_all(&mut out, format!("cargo::rerun-if-changed={folder}\n").as_bytes())
            .expect("cargo reads what build scripts say");
    }
}
