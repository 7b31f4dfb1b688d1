//! Reads what `golden/make.py` and its siblings wrote.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value as Json;

/// A file of `golden/`.
pub fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "golden", name].iter().collect()
}

/// A tensor of 4-byte numbers; labels and ids are integers, the rest floats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    /// Extents.
    pub shape: Vec<u32>,
    /// The numbers' bits.
    pub words: Vec<u32>,
    /// Whether they are floats.
    pub reals: bool,
}

impl Array {
    /// The numbers as floats.
    pub fn floats(&self) -> Vec<f32> {
        self.words.iter().map(|&word| f32::from_bits(word)).collect()
    }
}

/// A golden file: its tensors and the JSON in its metadata.
#[derive(Debug)]
pub struct Golden {
    /// Tensors by name.
    pub tensors: BTreeMap<String, Array>,
    /// What its one metadata key holds.
    pub about: Json,
}

impl Golden {
    /// Reads `golden/<name>.safetensors`.
    ///
    /// # Panics
    /// If the file is not what the Python scripts write: the committed file is broken.
    pub fn read(name: &str) -> Self {
        Self::at(&path(&format!("{name}.safetensors")))
    }

    /// Reads such a file that lies elsewhere.
    ///
    /// # Panics
    /// As [`Self::read`].
    pub fn at(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a golden file");
        let about = header.metadata().as_ref().and_then(|map| map.values().next());
        let about = about.map_or(Json::Null, |text| serde_json::from_str(text).expect("JSON"));
        let file = SafeTensors::deserialize(&bytes).expect("a golden file");
        let tensors = file.iter().map(|(name, view)| {
            let shape = view.shape().iter().map(|&n| n as u32).collect();
            let words = view.data().as_chunks::<4>().0.iter().map(|&b| u32::from_le_bytes(b));
            let reals = view.dtype() == Dtype::F32;
            (name.to_owned(), Array { shape, words: words.collect(), reals })
        });
        Self { tensors: tensors.collect(), about }
    }

    /// The floats of a tensor.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn floats(&self, name: &str) -> Vec<f32> {
        self.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}")).floats()
    }

    /// The cases of a file of `golden/ops`.
    ///
    /// # Panics
    /// If it is not one.
    pub fn cases(&self) -> Vec<Case> {
        let cases = self.about.as_object().expect("an object of cases");
        cases.iter().map(|(name, attributes)| self.case(name, attributes)).collect()
    }

    fn case(&self, name: &str, attributes: &Json) -> Case {
        let list = |what: &str| -> Vec<Array> {
            (0..).map_while(|k| self.tensors.get(&format!("{name}.{what}.{k}")).cloned()).collect()
        };
        let inputs = list("input");
        let grad = |k: usize| Some((k, self.tensors.get(&format!("{name}.grad.{k}"))?.clone()));
        Case {
            name: name.into(),
            attributes: attributes.clone(),
            grads: (0..inputs.len()).filter_map(grad).collect(),
            inputs,
            outputs: list("output"),
            upstream: self.tensors.get(&format!("{name}.upstream")).cloned(),
        }
    }
}

/// One op on one set of inputs, with PyTorch's answers.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name in the file.
    pub name: String,
    /// `op` and its attributes.
    pub attributes: Json,
    /// Inputs, in binding order.
    pub inputs: Vec<Array>,
    /// Outputs.
    pub outputs: Vec<Array>,
    /// The gradient that arrives at output 0.
    pub upstream: Option<Array>,
    /// The gradients with respect to the inputs that have one.
    pub grads: BTreeMap<usize, Array>,
}

impl Case {
    /// Which op.
    ///
    /// # Panics
    /// If the file does not say.
    pub fn op(&self) -> &str {
        self.attributes["op"].as_str().expect("a case names its op")
    }

    /// A number among the attributes.
    ///
    /// # Panics
    /// If it is not there.
    pub fn number(&self, key: &str) -> f64 {
        self.attributes[key].as_f64().unwrap_or_else(|| panic!("{}: no number {key}", self.name))
    }

    /// A yes or no among the attributes; no if it is not there.
    pub fn flag(&self, key: &str) -> bool {
        self.attributes[key].as_bool().unwrap_or(false)
    }

    /// Two extents among the attributes.
    ///
    /// # Panics
    /// If they are not there.
    pub fn pair(&self, key: &str) -> [u32; 2] {
        [0, 1].map(|k| self.attributes[key][k].as_u64().expect("a pair of extents") as u32)
    }
}
