//! The stages of the boot.

macro_rules! stages {
    ($($variant:ident = $name:literal,)+) => {
        /// A stage of the boot on the BSP: a function in `src/stages.rs`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        #[allow(missing_docs)]
        pub enum BootStage {
            $($variant,)+
        }

        impl BootStage {
            /// All stages, in order.
            pub const ALL: &'static [BootStage] = &[$(BootStage::$variant,)+];

            /// The name in reports.
            pub const fn name(self) -> &'static str {
                match self {
                    $(BootStage::$variant => $name,)+
                }
            }

            /// Returns whether the boot is not over in this stage.
            pub const fn is_boot(self) -> bool {
                !matches!(self, BootStage::Work | BootStage::Verdict)
            }
        }
    };
}

stages! {
    Loader = "loader",
    Options = "options",
    Features = "features",
    Patching = "patching",
    Memory = "memory",
    Bsp = "bsp",
    Screen = "screen",
    Platform = "platform",
    Zones = "zones",
    Clock = "clock",
    SerialInput = "serial_input",
    Aps = "aps",
    TscSync = "tsc_sync",
    Audit = "audit",
    Scheduler = "scheduler",
    Work = "work",
    Verdict = "verdict",
}
