//! scratch
use std::{path::Path, sync::atomic::AtomicBool, time::Duration};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let text = std::fs::read_to_string(&args[1]).unwrap();
    let out = Path::new(&args[2]);
    let config = taper_engine::config::Config::from_toml(&text, "x").unwrap();
    let run = if out.exists() {
        taper_engine::train::Run::resume(out)
    } else {
        taper_engine::train::Run::create(config, out)
    };
    let run = run.unwrap();
    let mut options = taper_engine::train::Options::new(out);
    options.checkpoint_every = Duration::from_secs(5);
    let r = run.execute(&options, &AtomicBool::new(false), &mut |e| {
        println!("{}", e.to_line().unwrap().trim())
    });
    if let Err(e) = r {
        println!("ERROR {e}");
        std::process::exit(1)
    }
}
