//! scratch: dump inputs + logits
use std::path::Path;
use taper_engine::{
    config::Config,
    data,
    formats::{ModelFolder, safetensors},
    gpu::*,
    nn::{Tensor, Weights},
    train::model::Trained,
};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let run = Path::new(&a[1]);
    let config =
        Config::from_toml(&std::fs::read_to_string(run.join("config.toml")).unwrap(), "c").unwrap();
    let d = data::open(&config.data).unwrap();
    let m = Trained::of(ModelFolder::read(&run.join("artifacts")).unwrap()).unwrap();
    let gpu = Gpu::open("auto", Options::default()).unwrap();
    let n = 200;
    let logits = m.logits(&gpu, &d.test, n).unwrap();
    let b = d.test.gather(&(0..n).collect::<Vec<_>>()).unwrap();
    let mut w = Weights::new();
    w.insert("images".into(), Tensor { shape: vec![n, b.images.len() / n], data: b.images });
    w.insert("logits".into(), Tensor { shape: vec![n, logits[0].len()], data: logits.concat() });
    safetensors::write(Path::new(&a[2]), &w, &safetensors::pytorch()).unwrap();
}
