//! scratch
use std::{collections::BTreeMap, time::Instant};
use taper_engine::{
    config::*,
    gpu::*,
    models,
    nn::Extent,
    win::{program::*, surgery},
};
fn main() {
    let config =
        Config::from_toml(presets::find(&std::env::args().nth(1).unwrap()).unwrap().text, "preset")
            .unwrap();
    let (size, ch) = if config.data.kind == DataKind::Procedural { (16, 1) } else { (16, 3) };
    let student = models::network(&config.model, Extent::Map(size, size, ch), 10);
    let teacher = surgery::widen(&student, config.teacher.factor, config.teacher.widen);
    let gpu = Gpu::open("auto", Options::default()).unwrap();
    let recipe = config.wide.recipe();
    let net = if std::env::args().nth(2).as_deref() == Some("student") { student } else { teacher };
    let p = program(
        &Stagecraft {
            student: &net,
            teacher: None,
            objective: Objective::Labels,
            recipe: &recipe,
            classes: 10,
        },
        &gpu.target(),
    )
    .unwrap();
    let reps = 3;
    let mut rows = Vec::new();
    let plan = p.plan.clone();
    let list = plan.programs["step"].clone();
    let mut exec_plan = plan.clone();
    exec_plan.programs = list
        .iter()
        .enumerate()
        .map(|(k, d)| (format!("{k:03}"), vec![d.clone(); reps]))
        .chain([("step".into(), list.clone())])
        .collect();
    let t0 = Instant::now();
    let mut e = Executor::new(&gpu, exec_plan).unwrap();
    println!("compile {:?}", t0.elapsed());
    let live = Live::rows(recipe.batch);
    let mut total = 0.0;
    for (k, d) in list.iter().enumerate() {
        let name = format!("{k:03}");
        e.run(&name, &live, 0).unwrap();
        e.finish().unwrap();
        let mut best = f64::MAX;
        for _ in 0..3 {
            let t = Instant::now();
            e.run(&name, &live, 0).unwrap();
            e.finish().unwrap();
            best = best.min(t.elapsed().as_secs_f64());
        }
        let ms = best * 1e3 / reps as f64;
        total += ms;
        rows.push((
            ms,
            format!(
                "{:9.3} ms {:7.2} GF/s {:6.2} GB/s  {} {:?} {:?} {:?}",
                ms,
                d.flops as f64 / ms / 1e6,
                d.bytes as f64 / ms / 1e6,
                d.label,
                plan.kernels[d.kernel].kernel.variant,
                d.grid,
                d.dims
            ),
        ));
    }
    let t = Instant::now();
    for _ in 0..3 {
        e.run("step", &live, 0).unwrap();
        e.finish().unwrap();
    }
    let step = t.elapsed().as_secs_f64() * 1e3 / 3.0;
    println!(
        "sum {total:.1} ms, step {step:.1} ms, {} launches, {:.3} GFLOP",
        list.len(),
        plan.flops("step") as f64 / 1e9
    );
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    for r in rows.iter().take(32) {
        println!("{}", r.1);
    }
    let mut by: BTreeMap<String, f64> = BTreeMap::new();
    for r in &rows {
        let l = r.1.split_whitespace().nth(6).unwrap();
        *by.entry(l.rsplit('/').next().unwrap().to_string()).or_default() += r.0;
    }
    for (k, v) in by {
        println!("{v:9.2} {k}");
    }
}
