//! The assignment of interrupt vectors.

/// An interrupt vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vector(u8);

impl Vector {
    /// The non-maskable interrupt.
    pub const NMI: Vector = Vector(2);
    /// The machine-check exception.
    pub const MACHINE_CHECK: Vector = Vector(18);
    /// The first vector of the legacy PICs, which have 16. All inputs are masked, but spurious interrupts still arrive.
    pub const PIC: Vector = Vector(0x20);
    /// The serial port's interrupt.
    pub const SERIAL: Vector = Vector(0x30);
    /// The first vector of the range from which a program takes its own: see
    /// [`ProgramVector`](super::ProgramVector).
    pub const PROGRAM_FIRST: Vector = Vector(0x40);
    /// The number of vectors in that range.
    pub const PROGRAM_COUNT: usize = 64;
    /// Another CPU has added a call to this CPU's call queue.
    pub const CALL: Vector = Vector(0xf0);
    /// Ends a halt of this CPU.
    pub const WAKE: Vector = Vector(0xf1);
    /// There is a thread for this CPU, or its own thread has something to do.
    pub const RESCHEDULE: Vector = Vector(0xf4);
    /// The local APIC's timer.
    pub const TIMER: Vector = Vector(0xf2);
    /// This CPU has added a call to its own list.
    pub const CALL_SELF: Vector = Vector(0xf3);
    /// Another CPU has unmapped pages: this CPU flushes its TLB.
    pub const FLUSH: Vector = Vector(0xf5);
    /// The local APIC has detected an error.
    pub const APIC_ERROR: Vector = Vector(0xfe);
    /// The local APIC's spurious-interrupt vector. Its low four bits are ones, as older APICs force them to be (SDM Vol.
    /// 3A, 11.9).
    pub const SPURIOUS: Vector = Vector(0xff);

    /// Returns the vector with number `vector`.
    pub const fn new(vector: u8) -> Vector {
        Vector(vector)
    }

    /// Returns the vector's number.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Returns the name of the vector's exception, if it has one (SDM Vol. 3A, table 6-1; 29 and 30: APM Vol. 2, table
    /// 8-1).
    pub const fn exception(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "#DE divide error",
            1 => "#DB debug",
            2 => "NMI",
            3 => "#BP breakpoint",
            4 => "#OF overflow",
            5 => "#BR bound range exceeded",
            6 => "#UD invalid opcode",
            7 => "#NM device not available",
            8 => "#DF double fault",
            10 => "#TS invalid TSS",
            11 => "#NP segment not present",
            12 => "#SS stack-segment fault",
            13 => "#GP general protection",
            14 => "#PF page fault",
            16 => "#MF x87 floating point",
            17 => "#AC alignment check",
            18 => "#MC machine check",
            19 => "#XM SIMD floating point",
            20 => "#VE virtualization",
            21 => "#CP control protection",
            28 => "#HV hypervisor injection",
            29 => "#VC VMM communication",
            30 => "#SX security",
            9 | 15 | 22..=27 | 31 => "reserved",
            32.. => return None,
        })
    }
}
