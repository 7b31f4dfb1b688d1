//! Which adapters there are, and which of them a configuration means.

use taper_core::{
    device::{AdapterDescription, DeviceError},
    ops::AdapterKind,
    plan::Limits,
};

/// `device` for every device at once.
pub const ALL: &str = "all";

fn describe(adapter: &wgpu::Adapter) -> AdapterDescription {
    let info = adapter.get_info();
    let device_type = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Cpu => "cpu",
        wgpu::DeviceType::Other => "other",
    };
    // GL does not say what it runs on: known software rasterisers are told by name.
    let software = ["llvmpipe", "softpipe", "swiftshader", "lavapipe"];
    let name = info.name.to_lowercase();
    let cpu =
        info.device_type == wgpu::DeviceType::Cpu || software.iter().any(|s| name.contains(s));
    AdapterDescription {
        index: 0,
        backend: info.backend.to_str().into(),
        driver: [info.driver.as_str(), info.driver_info.as_str()].join(" ").trim().to_owned(),
        vendor_device: [info.vendor, info.device],
        device_type: if cpu { "cpu" } else { device_type }.into(),
        kind: if cpu { AdapterKind::Cpu } else { AdapterKind::Gpu },
        limits: limits_of(&adapter.limits()),
        f16: adapter.features().contains(wgpu::Features::SHADER_F16),
        pci_bus: info.device_pci_bus_id,
        name: info.name,
        slot: String::new(),
    }
}

/// What a plan may ask of an adapter with these limits.
pub(super) fn limits_of(limits: &wgpu::Limits) -> Limits {
    Limits {
        binding_bytes: limits.max_storage_buffer_binding_size,
        buffer_bytes: limits.max_buffer_size,
        storage_buffers: limits.max_storage_buffers_per_shader_stage,
        groups: limits.max_compute_workgroups_per_dimension,
        memory: None,
    }
}

/// Adapters in order of preference: real GPUs before software, GL last.
fn enumerate() -> Vec<(wgpu::Adapter, AdapterDescription)> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let found = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let usable = |adapter: &wgpu::Adapter| {
        adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS)
            && adapter.limits().max_storage_buffers_per_shader_stage
                >= Limits::default().storage_buffers
    };
    let mut usable: Vec<_> =
        found.into_iter().filter(usable).map(|adapter| (describe(&adapter), adapter)).collect();
    let rank = |d: &AdapterDescription| {
        let device = ["discrete", "integrated", "virtual", "other", "cpu"]
            .iter()
            .position(|t| *t == d.device_type);
        (d.is_gl(), device)
    };
    usable.sort_by_key(|(description, _)| rank(description));
    let (mut descriptions, adapters): (Vec<_>, Vec<_>) = usable.into_iter().unzip();
    place(&mut descriptions);
    adapters.into_iter().zip(descriptions).collect()
}

/// All adapters that can run Taper, in order of preference.
pub fn adapters() -> Vec<AdapterDescription> {
    enumerate().into_iter().map(|(_, description)| description).collect()
}

/// Gives each adapter its index and its slot.
fn place(adapters: &mut [AdapterDescription]) {
    let slots: Vec<String> = adapters.iter().map(|adapter| slot(adapter, adapters)).collect();
    for (index, (adapter, slot)) in adapters.iter_mut().zip(slots).enumerate() {
        (adapter.index, adapter.slot) = (index, slot);
    }
}

fn slot(adapter: &AdapterDescription, all: &[AdapterDescription]) -> String {
    if adapter.kind == AdapterKind::Cpu {
        // Software drivers, whatever their names, share the processor.
        return "cpu".into();
    }
    let plain = |name: &str| name.split('/').next().unwrap_or(name).trim().to_lowercase();
    let name = plain(&adapter.name);
    // GL does not say where its device sits: it is that of the other adapter of this name.
    let twin = all.iter().find(|other| {
        !other.is_gl() && {
            let other = plain(&other.name);
            other.contains(&name) || name.contains(&other)
        }
    });
    let known = |adapter: &AdapterDescription| match adapter.pci_bus.as_str() {
        "" => plain(&adapter.name),
        bus => bus.to_owned(),
    };
    match twin {
        Some(twin) if adapter.is_gl() && adapter.pci_bus.is_empty() => known(twin),
        _ => known(adapter),
    }
}

/// Places in `adapters` of those that `device` means, best first; none where there is no such adapter.
///
/// An index means one adapter. `auto` means any of the first one's type, so that a run never falls to a slower sort of device because a
/// better one is busy, and one of OpenGL only where there are no others. `all` means one adapter of each device, of software drivers only where there is no GPU. Anything else means
/// the adapters whose name contains it, or whose backend it is.
pub fn select(adapters: &[AdapterDescription], device: &str) -> Vec<usize> {
    let wanted = device.to_lowercase();
    let whose = |meant: &dyn Fn(&AdapterDescription) -> bool| -> Vec<usize> {
        (0..adapters.len()).filter(|&place| meant(&adapters[place])).collect()
    };
    if let Ok(index) = wanted.parse::<usize>() {
        return whose(&|adapter| adapter.index == index);
    }
    match wanted.as_str() {
        "" | "auto" => {
            let sort =
                |adapter: &AdapterDescription| (adapter.is_gl(), adapter.device_type.clone());
            whose(&|adapter| sort(adapter) == sort(&adapters[0]))
        }
        ALL => {
            let gpu = adapters.iter().any(|adapter| adapter.kind == AdapterKind::Gpu);
            let mut slots: Vec<&str> = Vec::new();
            let first = |place: &usize| {
                let AdapterDescription { slot, kind, .. } = &adapters[*place];
                let new = !slots.contains(&slot.as_str());
                slots.push(slot);
                new && (*kind == AdapterKind::Gpu) == gpu
            };
            (0..adapters.len()).filter(first).collect()
        }
        _ => whose(&|adapter| {
            adapter.name.to_lowercase().contains(&wanted) || adapter.backend == wanted
        }),
    }
}

/// Places in `adapters`, those that a device means, of those that are the share of process `turn` of `count` on this machine: one adapter a
/// physical device, in the order of the PCI bus, so that every process counts alike, whatever order its driver has. Without `all` it is one of
/// them. Where there are fewer devices than processes, several share one.
pub(super) fn share(
    adapters: &[AdapterDescription],
    all: bool,
    (turn, count): (usize, usize),
) -> Vec<usize> {
    let mut firsts: Vec<usize> = Vec::new();
    for (place, adapter) in adapters.iter().enumerate() {
        if !firsts.iter().any(|&other| adapters[other].slot == adapter.slot) {
            firsts.push(place);
        }
    }
    firsts.sort_by_key(|&place| adapters[place].pci_bus.as_str());
    let devices = firsts.len().max(1);
    let mine = |&(number, _): &(usize, usize)| match all && devices >= count {
        true => number % count == turn,
        false => number == turn % devices,
    };
    firsts.into_iter().enumerate().filter(mine).map(|(_, place)| place).collect()
}

/// The adapters that `device` means, see [`select`].
///
/// # Errors
/// If there is none.
pub(super) fn meant(device: &str) -> Result<Vec<(wgpu::Adapter, AdapterDescription)>, DeviceError> {
    let all = enumerate();
    if all.is_empty() {
        return Err(DeviceError::NoAdapter);
    }
    let (adapters, descriptions): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    let places = select(&descriptions, device);
    if places.is_empty() {
        let line = |d: &AdapterDescription| format!("{}: {} ({})", d.index, d.name, d.backend);
        let found = descriptions.iter().map(line).collect::<Vec<_>>().join(", ");
        return Err(DeviceError::NotFound { wanted: device.into(), found });
    }
    let pairs = adapters.into_iter().zip(descriptions).enumerate();
    Ok(pairs.filter(|(place, _)| places.contains(place)).map(|(_, pair)| pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(name: &str, backend: &str, device_type: &str, bus: &str) -> AdapterDescription {
        AdapterDescription {
            index: 0,
            name: name.into(),
            backend: backend.into(),
            driver: String::new(),
            vendor_device: [0; 2],
            device_type: device_type.into(),
            kind: if device_type == "cpu" { AdapterKind::Cpu } else { AdapterKind::Gpu },
            limits: Limits::default(),
            f16: false,
            pci_bus: bus.into(),
            slot: String::new(),
        }
    }

    fn machine() -> Vec<AdapterDescription> {
        let mut found = vec![
            adapter("NVIDIA GeForce RTX 4090", "vulkan", "discrete", "0000:01:00.0"),
            adapter("NVIDIA GeForce RTX 4090", "vulkan", "discrete", "0000:02:00.0"),
            adapter("AMD Radeon 780M", "vulkan", "integrated", ""),
            adapter("llvmpipe (LLVM 15)", "vulkan", "cpu", ""),
            adapter("NVIDIA GeForce RTX 4090/PCIe/SSE2", "gl", "other", ""),
            adapter("AMD Radeon 780M", "gl", "other", ""),
            adapter("softpipe", "gl", "cpu", ""),
        ];
        place(&mut found);
        found
    }

    #[test]
    fn adapters_of_one_device_share_a_slot() {
        let found = machine();
        let slots: Vec<&str> = found.iter().map(|adapter| adapter.slot.as_str()).collect();
        let (radeon, nvidia) = ("amd radeon 780m", "0000:01:00.0");
        assert_eq!(slots, [nvidia, "0000:02:00.0", radeon, "cpu", nvidia, radeon, "cpu"]);
    }

    #[test]
    fn processes_of_a_machine_take_other_devices() {
        let mut found = machine();
        found.swap(0, 1);
        let gpus = |device: &str| -> Vec<AdapterDescription> {
            select(&found, device).into_iter().map(|place| found[place].clone()).collect()
        };
        let one = |turn| share(&gpus("auto"), false, (turn, 2));
        assert_eq!([one(0), one(1)], [[1], [0]]);
        let all = |turn, count| share(&gpus("all"), true, (turn, count));
        // The Radeon's bus is not known: it is counted first.
        assert_eq!([all(0, 2), all(1, 2)], [vec![2, 0], vec![1]]);
        assert_eq!([all(0, 1), all(3, 4)], [vec![2, 1, 0], vec![2]]);
        // Software, and an adapter that is named by its index, are shared.
        assert_eq!(
            [share(&gpus("3"), false, (1, 2)), share(&gpus("cpu"), false, (0, 1))],
            [vec![0], vec![]]
        );
    }

    #[test]
    fn only_of_opengl_is_something_to_be_said() {
        let caveats = machine().iter().filter_map(AdapterDescription::caveat).collect::<Vec<_>>();
        assert_eq!(caveats.len(), 3);
        assert!(caveats[2].starts_with("softpipe is reached by OpenGL, which is best effort"));
    }

    #[test]
    fn a_device_means_adapters() {
        let found = machine();
        assert_eq!(select(&found, "auto"), [0, 1]);
        assert_eq!(select(&found, ""), [0, 1]);
        assert_eq!(select(&found, "all"), [0, 1, 2]);
        assert_eq!(select(&found, "5"), [5]);
        assert_eq!(select(&found, "7"), [0; 0]);
        assert_eq!(select(&found, "radeon"), [2, 5]);
        assert_eq!(select(&found, "GL"), [4, 5, 6]);
        assert_eq!(select(&found, "voodoo"), [0; 0]);
        // Software is all there is.
        let mut software =
            vec![adapter("llvmpipe", "vulkan", "cpu", ""), adapter("llvmpipe", "gl", "cpu", "")];
        place(&mut software);
        assert_eq!(select(&software, "all"), [0]);
        assert_eq!(select(&software, "auto"), [0]);
        assert_eq!(select(&software[1..], "auto"), [0]);
        assert_eq!(select(&[], "auto"), [0; 0]);
    }
}
