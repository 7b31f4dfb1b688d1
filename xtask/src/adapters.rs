//! The adapters that `taper devices` lists.

use anyhow::{Context, Result};

use crate::{
    json::{objects, string},
    shell::{self, read, root},
};

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Adapter {
    name: String,
    backend: String,
    kind: String,
}

impl Adapter {
    /// Whether it is reached by OpenGL, which is best effort.
    pub(crate) fn is_gl(&self) -> bool {
        self.backend == "gl"
    }
}

impl std::fmt::Display for Adapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {})", self.name, self.backend, self.kind)
    }
}

/// All that the built `taper` finds.
pub(crate) fn all() -> Result<Vec<Adapter>> {
    list(&[])
}

/// Those that are left where the Vulkan loader finds no driver; [`without_vulkan`] has what it takes.
pub(crate) fn all_without_vulkan() -> Result<Vec<Adapter>> {
    list(&without_vulkan())
}

/// What hides every Vulkan driver from a program: lists of drivers that name a file which is not there. Older loaders know the second name.
pub(crate) fn without_vulkan() -> [(&'static str, String); 2] {
    let nowhere = root().join("no-vulkan-driver.json").display().to_string();
    [("VK_DRIVER_FILES", nowhere.clone()), ("VK_ICD_FILENAMES", nowhere)]
}

fn list(environment: &[(&str, String)]) -> Result<Vec<Adapter>> {
    let mut devices = shell::taper()?;
    devices.args(["devices", "--json"]).envs(environment.iter().map(|(name, value)| (name, value)));
    let text = read(&mut devices)?;
    parse(&text).with_context(|| format!("`taper devices --json` prints no list: {text}"))
}

fn parse(text: &str) -> Option<Vec<Adapter>> {
    let adapter = |object: &str| {
        Some(Adapter {
            name: string(object, "name")?.into(),
            backend: string(object, "backend")?.into(),
            kind: string(object, "device_type")?.into(),
        })
    };
    objects(text, "devices")?.into_iter().map(adapter).collect()
}

/// Adapters in one line.
pub(crate) fn named(adapters: &[Adapter]) -> String {
    match adapters {
        [] => "none".into(),
        _ => adapters.iter().map(Adapter::to_string).collect::<Vec<_>>().join("; "),
    }
}

#[cfg(test)]
pub(crate) fn of(backend: &str) -> Adapter {
    Adapter { name: format!("llvmpipe by {backend}"), backend: backend.into(), kind: "cpu".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_object_of_the_list_is_an_adapter() {
        let object = |backend: &str| {
            let limits = r#"{"binding_bytes":134217728,"memory":null}"#;
            format!(
                r#"{{"index":0,"name":"a {{b}} \"c","backend":"{backend}","device_type":"cpu","limits":{limits},"f16":true}}"#
            )
        };
        let text = format!(r#"{{"devices":[{},{}]}}"#, object("vulkan"), object("gl"));
        let found = parse(&text).expect("a list");
        assert_eq!(found.iter().map(Adapter::is_gl).collect::<Vec<_>>(), [false, true]);
        assert_eq!(parse(r#"{"devices":[]}"#), Some(Vec::new()));
        assert_eq!(parse("{}"), None);
        assert_eq!(parse(r#"{"devices":[{"name":"a"}]}"#), None);
    }

    #[test]
    fn adapters_are_named_in_a_line() {
        let line = named(&[of("vulkan"), of("gl")]);
        assert_eq!(line, "llvmpipe by vulkan (vulkan, cpu); llvmpipe by gl (gl, cpu)");
        assert_eq!(named(&[]), "none");
    }
}
