//! tmp
use super::{AdapterKind, Launch, Op};
/// x
#[derive(Debug, Clone, Copy)]
pub struct Conv2d {
    /// k
    pub kernel: [u32; 2],
    /// s
    pub stride: [u32; 2],
    /// p
    pub pad: [u32; 2],
    /// b
    pub bias: bool,
}
impl Op for Conv2d {
    fn launch(&self, _inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        None
    }
}
