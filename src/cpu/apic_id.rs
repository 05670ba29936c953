//! The initial APIC ID, from CPUID.

use raw_cpuid::CpuId;

use crate::cpu::ApicId;
use crate::patchable;

patchable! {
    /// Returns this CPU's initial APIC ID, from CPUID leaf 1FH, 0BH or 1: the ID after reset (SDM Vol. 3A, 11.12.8).
    /// Firmware may have changed the local APIC's own ID; see `apic::bsp_apic_id`.
    ///
    /// **Context:** any.
    pub(crate) fn initial_apic_id() -> ApicId {
        let cpuid = CpuId::new();
        let levels = [cpuid.get_extended_topology_info_v2(), cpuid.get_extended_topology_info()];
        match levels.into_iter().flatten().find_map(|mut levels| levels.next()) {
            Some(level) => ApicId(level.x2apic_id()),
            None => {
                ApicId(cpuid.get_feature_info().map_or(0, |basic| u32::from(basic.initial_local_apic_id())))
            }
        }
    }
}
