//! How large a network is, block by block.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Extent, Layer, Network, NetworkError, Shapes};

/// A network in numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkSize {
    /// Trainable parameters.
    pub params: u64,
    /// Multiply-adds of one input.
    pub macs: u64,
    /// S₁ … Sₙ, then the head.
    pub blocks: Vec<BlockSize>,
}

/// A block of a network in numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BlockSize {
    /// `S1`, …, `head`.
    pub name: String,
    /// Channels or features that leave it.
    pub width: u32,
    /// Least and greatest width of a layer inside it.
    #[serde(default)]
    pub inner: [u32; 2],
    /// Height and width of what leaves it; none behind the pooling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<[u32; 2]>,
    /// Trainable parameters.
    pub params: u64,
    /// Multiply-adds of one input.
    pub macs: u64,
}

impl Network {
    /// How large it is.
    ///
    /// # Errors
    /// If its layers do not fit each other.
    pub fn size(&self) -> Result<NetworkSize, NetworkError> {
        let shapes = self.shapes()?;
        let layers = shapes.layers.iter().map(|(name, extent)| (name.as_str(), *extent)).collect();
        let params = shapes.block_params();
        let size = |(block, params)| block_size(self, &shapes, &layers, block, params);
        let blocks = (0..).zip(params).map(size);
        Ok(NetworkSize {
            params: shapes.param_count(),
            macs: shapes.total_macs(),
            blocks: blocks.collect(),
        })
    }
}

/// The size of a block; the head is the one behind the last.
fn block_size(
    network: &Network,
    shapes: &Shapes,
    extents: &HashMap<&str, Extent>,
    block: usize,
    params: u64,
) -> BlockSize {
    let mut widths = Vec::new();
    let name = match network.blocks.get(block) {
        Some(inside) => {
            inner_widths(&inside.layers, extents, &mut widths);
            format!("S{}", block + 1)
        }
        None => {
            network.heads().for_each(|head| inner_widths(head, extents, &mut widths));
            "head".into()
        }
    };
    let out = shapes.blocks.get(block).copied();
    let width = out.unwrap_or(shapes.output).width();
    BlockSize {
        name,
        width,
        inner: [
            widths.iter().copied().min().unwrap_or(width),
            widths.iter().copied().max().unwrap_or(width),
        ],
        resolution: match out {
            Some(Extent::Map(height, width, _)) => Some([height, width]),
            _ => None,
        },
        params,
        macs: shapes.macs[block],
    }
}

/// Widths of all named layers, those inside of units as well.
fn inner_widths(layers: &[Layer], extents: &HashMap<&str, Extent>, widths: &mut Vec<u32>) {
    for facts in layers.iter().map(Layer::facts) {
        facts.inside.iter().for_each(|inside| inner_widths(inside, extents, widths));
        let whole = facts.inside.iter().all(|inside| inside.is_empty());
        if let Some(extent) = facts.name.filter(|_| whole).and_then(|name| extents.get(name)) {
            widths.push(extent.width());
        }
    }
}
