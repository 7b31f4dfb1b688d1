//! How the cost of a step grows: small networks, with their depth, width or batch doubled and doubled again.
//! `taper bench --growth` prints them.

use engine::config::{Activation, Mlp, Model, Precision, Resnet, Stem, Unit};
use engine::nn::{Extent, Network};
use engine::{models, step::Objective};

use crate::{Work, training};

/// A base and what it is multiplied by.
#[derive(Debug, Clone, Copy)]
struct Size {
    depth: u32,
    width: u32,
    batch: u32,
}

const BASE: Size = Size { depth: 1, width: 1, batch: 1 };

/// A network of a size, and its batch.
type Net = fn(Size) -> (Network, u32);
/// The base with one axis multiplied.
type Grow = fn(u32) -> Size;

/// Of an MLP and of a ResNet the base (`mlp_base`), and depth, width and batch times 2 and 4 (`resnet_depth_x2`).
pub fn works() -> Vec<Work> {
    let mut works = Vec::new();
    let axes: [(&str, Grow); 3] = [
        ("depth", |times| Size { depth: times, ..BASE }),
        ("width", |times| Size { width: times, ..BASE }),
        ("batch", |times| Size { batch: times, ..BASE }),
    ];
    for (net, of) in [("mlp", mlp as Net), ("resnet", resnet)] {
        works.push(work(format!("{net}_base"), of(BASE)));
        for (axis, size) in axes {
            let grown = |times| work(format!("{net}_{axis}_x{times}"), of(size(times)));
            works.extend([2, 4].map(grown));
        }
    }
    works
}

/// 784 → 8 × 32 → 10, batch 64.
fn mlp(size: Size) -> (Network, u32) {
    let hidden = vec![32 * size.width; 8 * size.depth as usize];
    let blocks = vec![2 * size.depth; 4];
    let model = Model::Mlp(Mlp { hidden, activation: Activation::Relu, blocks });
    (models::network(&model, Extent::Flat(784), 10), 64 * size.batch)
}

/// Four stages of one bottleneck of 8, 16, 32, 64 channels on 32×32 images, batch 8.
fn resnet(size: Size) -> (Network, u32) {
    let (unit, stem, base) = (Unit::Bottleneck, Stem::Cifar, 8 * size.width);
    let blocks = vec![size.depth; 4];
    let model = Model::Resnet(Resnet { width: 1.0, base, unit, stem, blocks });
    (models::network(&model, Extent::Map(32, 32, 3), 10), 8 * size.batch)
}

/// A step of training; forward and twice as much backward, of two operations a multiply-add.
fn work(name: String, (network, batch): (Network, u32)) -> Work {
    let macs = network.shapes().expect("networks of this file have shapes").total_macs();
    let gflop = 6.0 * f64::from(batch) * macs as f64 / 1e9;
    Work::new(name, gflop, move |on| {
        training(&network, None, Objective::Labels, batch, Precision::F32, on)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::ops::AdapterKind;
    use engine::plan::Target;

    #[test]
    fn every_size_has_a_plan_on_webgpus_default_limits() {
        let works = works();
        assert_eq!(works.len(), 14);
        for work in works {
            let plan = work.plan(&Target::web(AdapterKind::Cpu));
            plan.unwrap_or_else(|error| panic!("{}: {error}", work.name));
        }
    }

    #[test]
    fn operations_grow_with_each_axis() {
        let works = works();
        let gflop = |name: String| {
            works.iter().find(|work| work.name == name).expect("a work of this name").gflop
        };
        for net in ["mlp", "resnet"] {
            let base = gflop(format!("{net}_base"));
            assert_eq!(gflop(format!("{net}_batch_x4")), 4.0 * base);
            for axis in ["depth", "width"] {
                let (two, four) =
                    (gflop(format!("{net}_{axis}_x2")), gflop(format!("{net}_{axis}_x4")));
                assert!(base < two && two < four, "{net}, {axis}");
            }
        }
    }
}
