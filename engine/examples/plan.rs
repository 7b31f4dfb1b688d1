//! scratch
use taper_engine::{
    config::*,
    models,
    nn::Extent,
    ops::AdapterKind,
    plan::Target,
    win::{program::*, surgery},
};
fn main() {
    let config =
        Config::from_toml(presets::find(&std::env::args().nth(1).unwrap()).unwrap().text, "preset")
            .unwrap();
    let (size, ch) = if config.data.kind == DataKind::Procedural { (16, 1) } else { (16, 3) };
    let student = models::network(&config.model, Extent::Map(size, size, ch), 10);
    let teacher = surgery::widen(&student, config.teacher.factor, config.teacher.widen);
    let bridged = surgery::bridge(&student, &teacher, false).unwrap();
    let target = Target::web(AdapterKind::Cpu);
    for (name, net, obj) in [
        ("vanilla", student.clone(), Objective::Labels),
        ("kd", student.clone(), Objective::Distill { alpha: 0.5, temperature: 4.0 }),
        (
            "narrow1",
            bridged.prefix(1),
            Objective::Imitate { discrepancy: Discrepancy::RelativeMse, scale: 1.0, freeze: false },
        ),
    ] {
        let recipe = config.vanilla.recipe();
        let p = program(
            &Stagecraft {
                student: &net,
                teacher: Some(&teacher),
                objective: obj,
                recipe: &recipe,
                classes: 10,
            },
            &target,
        )
        .unwrap();
        println!(
            "== {name}: {} launches, {} kernels, {:.3} MFLOP, {} bytes",
            p.plan.launches("step"),
            p.plan.kernels.len(),
            p.plan.flops("step") as f64 / 1e6,
            p.plan.memory()
        );
        if std::env::args().nth(2).as_deref() == Some(name) {
            println!("{}", p.plan.listing());
        }
    }
}
