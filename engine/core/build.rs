//! Lists `shaders/` for `plan::shaders`, so that adding a shader means adding a file and nothing else.

use std::{env, fmt::Write as _, fs, io, path::Path};

fn main() -> io::Result<()> {
    let root =
        Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../shaders");
    let mut list = String::from("&[\n");
    for (folder, prefix) in
        [(root.join("lib"), "lib/"), (root.join("variants"), "variants/"), (root.clone(), "")]
    {
        println!("cargo::rerun-if-changed={}", folder.display());
        let mut files: Vec<_> = fs::read_dir(&folder)?.collect::<io::Result<Vec<_>>>()?;
        files.sort_by_key(|file| file.file_name());
        for file in files {
            let path = file.path();
            if path.extension().is_some_and(|ext| ext == "wgsl") {
                let stem = path.file_stem().expect("a file has a stem").to_string_lossy();
                let path = fs::canonicalize(&path)?;
                writeln!(list, "    ({:?}, include_str!({path:?})),", format!("{prefix}{stem}"))
                    .expect("memory");
            }
        }
    }
    list.push_str("]\n");
    fs::write(Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("shaders.rs"), list)
}
