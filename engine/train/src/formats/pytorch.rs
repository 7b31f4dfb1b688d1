//! A network as the Python that loads its weights into PyTorch: torchvision's own where it has the network, else classes written out.

use serde::Serialize;

use super::resnet::{Resnet, Unit};
use crate::nn::{Extent, Layer, Network, layers::Linear};
use crate::ops::activation::Activation as Function;

/// Python that makes `model` of `model.safetensors` and runs it on `images`; none for a network of layers that it does not know.
pub(super) fn code(network: &Network) -> Option<String> {
    let (imports, model) = match Sizes::of(network)? {
        Sizes::Resnet(resnet) => match resnet.by_torchvision() {
            Some(model) => ("import torch\nimport torchvision\n", model),
            None => ("import torch\n", resnet.written_out()),
        },
        Sizes::Mlp(mlp) => ("import torch\n", mlp.written_out()),
    };
    let nn = if model.contains(" nn.") || model.contains("(nn.") {
        "from torch import nn\n"
    } else {
        ""
    };
    let Extent::Map(height, width, channels) = network.input else { return None };
    Some(format!(
        "{imports}from safetensors.torch import load_file\n{nn}\n{model}\
         model.load_state_dict(load_file(\"model.safetensors\"))\nmodel.eval()\n\n\
         images = torch.zeros(1, {channels}, {height}, {width})  # (N, C, H, W); or torch.from_numpy(prepare(\"picture.jpg\"))\n\
         with torch.no_grad():\n    logits = model(images)\n"
    ))
}

/// What a network is made of, as the Python of exported folders builds it.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Sizes {
    Mlp(Mlp),
    Resnet(Resnet),
}

impl Sizes {
    /// Those of a network; none for one of layers that the Python does not know.
    pub(super) fn of(network: &Network) -> Option<Self> {
        match Resnet::of(network) {
            Some(resnet) => Some(Self::Resnet(resnet)),
            None => Mlp::of(network).map(Self::Mlp),
        }
    }
}

/// An MLP on images: linear layers `layers.K` with one activation, and `head`.
#[derive(Debug, Serialize)]
pub(super) struct Mlp {
    inputs: u32,
    hidden: Vec<u32>,
    activation: Function,
    classes: u32,
}

impl Mlp {
    fn of(network: &Network) -> Option<Self> {
        let Extent::Map(h, w, c) = network.input else { return None };
        let (mut hidden, mut function) = (Vec::new(), None);
        for layer in network.blocks.iter().flat_map(|block| &block.layers) {
            match layer {
                Layer::Flatten => {}
                Layer::Linear(Linear { out, bias: true, .. }) => hidden.push(*out),
                Layer::Activation(act) if function.is_none_or(|old| old == act.function) => {
                    function = Some(act.function);
                }
                _ => return None,
            }
        }
        let [Layer::Linear(Linear { out: classes, bias: true, .. })] = network.head[..] else {
            return None;
        };
        Some(Self { inputs: h * w * c, hidden, activation: function?, classes })
    }

    /// A class of its own.
    fn written_out(&self) -> String {
        let activation = match self.activation {
            Function::Relu => "torch.relu(layer(x))",
            Function::Gelu => "nn.functional.gelu(layer(x))",
            Function::GeluTanh => "nn.functional.gelu(layer(x), approximate=\"tanh\")",
            Function::Tanh => "torch.tanh(layer(x))",
            Function::Sigmoid => "torch.sigmoid(layer(x))",
        };
        let (mut before, mut pairs) = (self.inputs, Vec::new());
        for out in &self.hidden {
            pairs.push(format!("({before}, {out})"));
            before = *out;
        }
        format!(
            "
class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in [{}])
        self.head = nn.Linear({before}, {})

    def forward(self, images):
        x = images.flatten(1)
        for layer in self.layers:
            x = {activation}
        return self.head(x)


model = Mlp()
",
            pairs.join(", "),
            self.classes,
        )
    }
}

impl Resnet {
    /// torchvision's network, with another stem where this one has another; none if its widths are not torchvision's.
    fn by_torchvision(&self) -> Option<String> {
        let (bottleneck, first) = (self.bottleneck(), self.stages[0][0].inner);
        let widths = self.stages.iter().enumerate().all(|(stage, units)| {
            let inner = |unit: &Unit| unit.inner == first << stage;
            let out = |unit: &Unit| unit.out == (if bottleneck { 256 } else { 64 }) << stage;
            units.iter().all(|unit| inner(unit) && out(unit))
        });
        if self.stem != 64 || self.stages.len() != 4 || !widths || !(bottleneck || first == 64) {
            return None;
        }
        let units: Vec<usize> = self.stages.iter().map(Vec::len).collect();
        let stock = match (bottleneck, &units[..]) {
            (false, [2, 2, 2, 2]) => Some("resnet18"),
            (false, [3, 4, 6, 3]) => Some("resnet34"),
            (true, [3, 4, 6, 3]) => Some("resnet50"),
            (true, [3, 4, 23, 3]) => Some("resnet101"),
            (true, [3, 8, 36, 3]) => Some("resnet152"),
            _ => None,
        };
        let classes = self.classes;
        // torchvision says inner widths by those of 64 groups' channels.
        let wide = if first == 64 { String::new() } else { format!(", width_per_group={first}") };
        let mut code = match stock {
            Some(name) => {
                format!("model = torchvision.models.{name}(num_classes={classes}{wide})\n")
            }
            None => {
                let kind = if bottleneck { "Bottleneck" } else { "BasicBlock" };
                format!(
                    "model = torchvision.models.ResNet(\n    torchvision.models.resnet.{kind}, {units:?}, num_classes={classes}{wide}\n)\n"
                )
            }
        };
        if !self.large || self.channels != 3 {
            code.push_str(&format!("model.conv1 = torch.nn.{}\n", self.conv1()));
        }
        if !self.large {
            code.push_str("model.maxpool = torch.nn.Identity()\n");
        }
        Some(code)
    }

    fn conv1(&self) -> String {
        let kernel = if self.large { "7, 2, 3" } else { "3, 1, 1" };
        format!("Conv2d({}, {}, {kernel}, bias=False)", self.channels, self.stem)
    }

    /// Classes of its own.
    fn written_out(&self) -> String {
        let convolutions = if self.bottleneck() {
            "
        self.conv1, self.bn1 = nn.Conv2d(before, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, out, 1, bias=False), nn.BatchNorm2d(out)"
        } else {
            "
        self.conv1, self.bn1 = nn.Conv2d(before, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)"
        };
        let forward = if self.bottleneck() {
            "
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))"
        } else {
            "
        y = self.bn2(self.conv2(y))"
        };
        let stages: String = self
            .stages
            .iter()
            .enumerate()
            .map(|(stage, units)| {
                format!("        self.layer{} = nn.Sequential({})\n", stage + 1, calls(units))
            })
            .collect();
        let pool =
            if self.large { "        x = nn.functional.max_pool2d(x, 3, 2, 1)\n" } else { "" };
        let names: Vec<String> =
            (1..=self.stages.len()).map(|stage| format!("self.layer{stage}")).collect();
        let out = self.stages.iter().flatten().last().map_or(0, |unit| unit.out);
        format!(
            "
class Unit(nn.Module):
    def __init__(self, before, inner, out, stride, projects):
        super().__init__(){convolutions}
        project = [nn.Conv2d(before, out, 1, stride, bias=False), nn.BatchNorm2d(out)]
        self.downsample = nn.Sequential(*project) if projects else nn.Identity()

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x))){forward}
        return torch.relu(y + self.downsample(x))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.{conv1}, nn.BatchNorm2d({stem})
{stages}        self.fc = nn.Linear({out}, {classes})

    def forward(self, images):
        x = torch.relu(self.bn1(self.conv1(images)))
{pool}        for layer in [{names}]:
            x = layer(x)
        return self.fc(x.mean((2, 3)))


model = ResNet()
",
            conv1 = self.conv1(),
            stem = self.stem,
            classes = self.classes,
            names = names.join(", "),
        )
    }
}

/// The call that makes a unit.
fn call(unit: &Unit) -> String {
    let Unit { before, inner, out, stride, projects, .. } = unit;
    let projects = if *projects { "True" } else { "False" };
    format!("Unit({before}, {inner}, {out}, {stride}, {projects})")
}

/// The calls that make the units of a stage; equal neighbours are counted.
fn calls(units: &[Unit]) -> String {
    let groups = units.chunk_by(|a, b| a == b).map(|group| match group {
        [one] => call(one),
        [one, ..] => format!("*({} for _ in range({}))", call(one), group.len()),
        [] => String::new(),
    });
    groups.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::code;
    use crate::{
        config::{Activation, Mlp, Model, Resnet, ResnetOfDepth, Stem, Unit, Widen},
        models,
        nn::Extent,
        win::surgery,
    };

    fn network(model: &Model, channels: u32, size: u32) -> crate::nn::Network {
        models::network(model, Extent::Map(size, size, channels), 10)
    }

    fn of(model: &Model, channels: u32, size: u32) -> String {
        code(&network(model, channels, size)).expect("a network that PyTorch can be told of")
    }

    #[track_caller]
    fn has(code: &str, parts: &[&str]) {
        for part in parts {
            assert!(code.contains(part), "no {part} in\n{code}");
        }
    }

    fn resnet(unit: Unit, stem: Stem, base: u32, blocks: &[u32]) -> Model {
        Model::Resnet(Resnet { width: 1.0, base, unit, stem, blocks: blocks.to_vec() })
    }

    #[test]
    fn torchvisions_own_networks_are_a_line() {
        let model = Model::Resnet50(ResnetOfDepth::default());
        has(
            &of(&model, 3, 224),
            &["model = torchvision.models.resnet50(num_classes=10)\nmodel.load"],
        );
        let cifar = Model::Resnet101(ResnetOfDepth { stem: Stem::Cifar, width: 1.0 });
        has(
            &of(&cifar, 1, 32),
            &[
                "torchvision.models.resnet101(num_classes=10)\n",
                "model.conv1 = torch.nn.Conv2d(1, 64, 3, 1, 1, bias=False)\n",
                "model.maxpool = torch.nn.Identity()\n",
                "images = torch.zeros(1, 1, 32, 32)",
            ],
        );
        let grey = of(&resnet(Unit::Basic, Stem::Imagenet, 64, &[2, 2, 2, 2]), 1, 64);
        has(&grey, &["resnet18(", "Conv2d(1, 64, 7, 2, 3, bias=False)"]);
        assert!(!grey.contains("maxpool"), "{grey}");
        let odd = of(&resnet(Unit::Basic, Stem::Imagenet, 64, &[1, 2, 1, 1]), 3, 64);
        has(
            &odd,
            &["models.ResNet(\n    torchvision.models.resnet.BasicBlock, [1, 2, 1, 1], num_"],
        );
        let wide = surgery::widen(&network(&model, 3, 224), 2, Widen::Mid);
        has(&code(&wide).expect("code"), &["resnet50(num_classes=10, width_per_group=128)"]);
    }

    #[test]
    fn other_widths_are_written_out() {
        let half = Model::Resnet50(ResnetOfDepth { width: 0.5, ..ResnetOfDepth::default() });
        has(
            &of(&half, 3, 224),
            &[
                "nn.Conv2d(3, 32, 7, 2, 3, bias=False), nn.BatchNorm2d(32)",
                "self.layer1 = nn.Sequential(Unit(32, 32, 128, 1, True), *(Unit(128, 32, 128, 1, False) for _ in range(2)))",
                "self.layer3 = nn.Sequential(Unit(256, 128, 512, 2, True), *(Unit(512, 128, 512, 1, False) for _ in range(5)))",
                "max_pool2d(x, 3, 2, 1)",
                "self.fc = nn.Linear(1024, 10)",
                "for layer in [self.layer1, self.layer2, self.layer3, self.layer4]:",
            ],
        );
        let basic = network(&resnet(Unit::Basic, Stem::Cifar, 16, &[2, 1, 1]), 3, 32);
        let text = code(&basic).expect("code");
        has(
            &text,
            &[
                "*(Unit(16, 16, 16, 1, False) for _ in range(2))",
                "y = self.bn2(self.conv2(y))\n        return",
            ],
        );
        assert!(!text.contains("max_pool") && !text.contains("conv3"), "{text}");
        let wide = code(&surgery::widen(&basic, 4, Widen::Mid)).expect("code");
        has(&wide, &["Unit(16, 128, 32, 2, True)"]);
    }

    #[test]
    fn an_mlp_says_its_widths_and_its_activation() {
        let mlp =
            |activation| Model::Mlp(Mlp { hidden: vec![7, 5], blocks: vec![1, 1], activation });
        has(
            &of(&mlp(Activation::Relu), 3, 4),
            &["in [(48, 7), (7, 5)])", "nn.Linear(5, 10)", "x = torch.relu(layer(x))"],
        );
        has(&of(&mlp(Activation::GeluTanh), 1, 4), &["in [(16, 7)", "approximate=\"tanh\""]);
    }
}
