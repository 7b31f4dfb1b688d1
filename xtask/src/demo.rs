//! `cargo xtask demo`: from a clone to a merged student.

use anyhow::Result;

use crate::{
    clock::Moment,
    setup,
    shell::{self, loud},
};

/// Builds, sees to an adapter, trains the `demo` preset with `flags` and says where its student lies.
///
/// `taper run` ends with the comparison of the methods, the same table as `taper compare` prints.
pub(crate) fn run(flags: &[String]) -> Result<()> {
    shell::build()?;
    setup::adapter()?;
    let out = format!("runs/demo-{}", Moment::now().for_file_names());
    loud(shell::taper()?.args(["run", "demo", "--out", &out]).args(flags))?;
    let model = format!("{out}/artifacts/model.safetensors");
    println!("\nThe merged student is {model}\n\n{}", loading(&model));
    Ok(())
}

/// How PyTorch loads the demo's student: a plain MLP.
fn loading(model: &str) -> String {
    format!(
        "\
In PyTorch:

    import torch
    from safetensors.torch import load_file

    w = load_file({model:?})  # layers.0 … layers.11, head
    def student(x):  # (N, 1, H, W), pixels in 0..1, minus mean, over std of config.json
        x = x.flatten(1)
        for k in range(12):
            x = torch.relu(x @ w[f\"layers.{{k}}.weight\"].T + w[f\"layers.{{k}}.bias\"])
        return x @ w[\"head.weight\"].T + w[\"head.bias\"]
"
    )
}
