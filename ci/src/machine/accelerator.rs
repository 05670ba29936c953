//! Chooses the accelerator: KVM if it is certain to use the hardware, else TCG, QEMU's translator.
//!
//! An accessible /dev/kvm is not sufficient. A KVM without `vmx` or `svm` below it may interpret ring-0 code hundreds of times
//! slower than TCG translates it.

use std::fs;
use std::fs::OpenOptions;

use strum::{EnumMessage, IntoStaticStr, VariantArray};

use crate::base::Error;

/// `--accel`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "kebab-case")]
pub enum AccelChoice {
    /// KVM where the processor shows vmx or svm and /dev/kvm opens; else TCG.
    #[default]
    Auto,
    /// The host's processor.
    Kvm,
    /// QEMU's own translator.
    Tcg,
}

impl AccelChoice {
    /// Its name, on the command line.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// An accelerator, as QEMU names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// The host's processor, through Linux.
    Kvm,
    /// QEMU's own translator.
    Tcg,
}

impl Accel {
    /// Its name, as QEMU and the report write it.
    pub fn name(self) -> &'static str {
        match self {
            Accel::Kvm => "kvm",
            Accel::Tcg => "tcg",
        }
    }
}

/// A choice, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The choice.
    pub accel: Accel,
    /// One line.
    pub reason: String,
    /// True if it is the launcher's own, so that another may take its place.
    pub is_automatic: bool,
}

/// The facts that the choice depends on.
#[derive(Clone, Debug)]
pub struct Host {
    /// The host can run x86-64 guests under Linux's KVM at all.
    pub linux_on_x86_64: bool,
    /// The host's processor shows `vmx` or `svm`.
    pub virtualisation_flag: Option<&'static str>,
    /// `Ok` if /dev/kvm opens, else the reason why it does not.
    pub kvm_device: Result<(), String>,
}

impl Host {
    /// Examines this machine.
    pub fn examine() -> Host {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Host {
            linux_on_x86_64: cfg!(all(target_os = "linux", target_arch = "x86_64")),
            virtualisation_flag: virtualisation_flag(&cpuinfo),
            kvm_device: match OpenOptions::new().read(true).write(true).open("/dev/kvm") {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("/dev/kvm does not open: {error}")),
            },
        }
    }
}

fn virtualisation_flag(cpuinfo: &str) -> Option<&'static str> {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"))?;
    ["vmx", "svm"].into_iter().find(|flag| flags.split_whitespace().any(|word| word == *flag))
}

/// Chooses the accelerator for `host`.
///
/// # Errors
/// The host cannot use the chosen accelerator.
pub fn decide(choice: AccelChoice, host: &Host) -> Result<Decision, Error> {
    let is_automatic = choice == AccelChoice::Auto;
    let kvm = |reason: String| Decision { accel: Accel::Kvm, reason, is_automatic };
    let tcg = |reason: String| Decision { accel: Accel::Tcg, reason, is_automatic };
    let obstacle = match (host.linux_on_x86_64, &host.kvm_device) {
        (false, _) => Some("the host is not x86-64 Linux".to_owned()),
        (true, Err(reason)) => Some(reason.clone()),
        (true, Ok(())) => None,
    };
    match (choice, obstacle, host.virtualisation_flag) {
        (AccelChoice::Tcg, ..) => Ok(tcg("--accel tcg".to_owned())),
        (AccelChoice::Kvm, Some(reason), _) => Err(Error::KvmUnusable { reason }),
        (AccelChoice::Kvm, None, Some(_)) => Ok(kvm("--accel kvm".to_owned())),
        (AccelChoice::Kvm, None, None) => {
            Ok(kvm("--accel kvm, though the processor shows neither vmx nor svm: it may be slow".to_owned()))
        }
        (AccelChoice::Auto, Some(reason), _) => Ok(tcg(reason)),
        (AccelChoice::Auto, None, Some(flag)) => {
            Ok(kvm(format!("the processor shows {flag}, and /dev/kvm opens")))
        }
        (AccelChoice::Auto, None, None) => {
            Ok(tcg("/dev/kvm opens, but the processor shows neither vmx nor svm: TCG is faster".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(flag: Option<&'static str>, device: Result<(), &str>) -> Host {
        Host { linux_on_x86_64: true, virtualisation_flag: flag, kvm_device: device.map_err(str::to_owned) }
    }

    #[test]
    fn auto_takes_kvm_only_with_the_flag_and_the_device() {
        let auto = |host| decide(AccelChoice::Auto, &host).unwrap().accel;
        assert_eq!(auto(host(Some("vmx"), Ok(()))), Accel::Kvm);
        assert_eq!(auto(host(None, Ok(()))), Accel::Tcg);
        assert_eq!(auto(host(Some("svm"), Err("no permission"))), Accel::Tcg);
        assert_eq!(auto(Host { linux_on_x86_64: false, ..host(Some("vmx"), Ok(())) }), Accel::Tcg);
    }

    #[test]
    fn kvm_by_name_is_taken_or_refused_but_never_replaced() {
        let refused = decide(AccelChoice::Kvm, &host(Some("vmx"), Err("/dev/kvm does not open: denied")));
        assert!(refused.unwrap_err().to_string().contains("/dev/kvm does not open: denied"));
        assert_eq!(decide(AccelChoice::Kvm, &host(None, Ok(()))).unwrap().accel, Accel::Kvm);
    }

    #[test]
    fn a_flag_is_a_whole_word_of_the_flags_line() {
        assert_eq!(virtualisation_flag("model name : x\nflags\t\t: fpu vmx sse\n"), Some("vmx"));
        assert_eq!(virtualisation_flag("flags : fpu svme\nvmx flags : ept\n"), None);
        assert_eq!(virtualisation_flag(""), None);
    }
}
