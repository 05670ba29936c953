"""octopod's commands for gdb: `help octopod` lists them.

The kernel runs where KASLR has put it, so its symbols are right only once gdb knows by how much it slid. Where QEMU loads
the kernel itself, `octopod connect` stops in rt0's first 64-bit instruction, at an address that is known, and reads it from
what rt0 hands on. `octopod symbols` finds it at any later time, whichever boot protocol was used: the interrupt descriptor
table lies in the image, and QEMU tells where that is.
"""

import re
import time

import gdb

# Where rt0 is entered into 64-bit mode, what it hands to Rust, and the tables of gates: without and with interrupt stacks.
LONG_MODE = "rt0_64"
HANDOFF = "rt0_handoff"
HANDOFF_TYPE = "octopod::boot::rt0::Handoff"
GATES = ("early_idt", "final_idt")

# From here on addresses are the kernel's.
UPPER_HALF = 0xFFFF800000000000
ADDRESS_BITS = (1 << 64) - 1

# How long QEMU may take to listen.
START_LIMIT_S = 20

# Symbols that are linked before gdb moves them: name -> address.
linked = {}
kernel = None


def address_of(name):
    """The address of a symbol, as gdb has it now."""
    text = gdb.execute("info address " + name, to_string=True)
    found = re.search(r"0x[0-9a-f]+", text)
    if not found:
        raise gdb.GdbError(f"the kernel has no symbol {name}")
    return int(found.group(), 16)


def quoted(path):
    """A path as one word of gdb's."""
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


def read_symbols(path):
    """Reads the kernel's file as it was linked."""
    global kernel
    kernel = path
    gdb.execute(f"symbol-file {quoted(path)}", to_string=True)
    for name in (LONG_MODE, HANDOFF, *GATES, "image_start", "rt0_phys"):
        linked[name] = address_of(name)


def slide_by(slide):
    """Moves all symbols, and with them the breakpoints that were set by name."""
    gdb.execute(f"symbol-file -o {slide:#x} {quoted(kernel)}", to_string=True)
    print(f"octopod: symbols are {slide:#x} above where they were linked")


def word_at(address):
    memory = gdb.selected_inferior().read_memory(address, 8)
    return int.from_bytes(bytes(memory), "little")


def register(name):
    """A register of the selected thread's innermost frame."""
    return int(gdb.newest_frame().read_register(name)) & ADDRESS_BITS


def outer_function():
    """The function that the selected CPU executes, without those that the compiler has inlined there."""
    frame = gdb.newest_frame()
    while frame.type() == gdb.INLINE_FRAME and frame.older() is not None:
        frame = frame.older()
    return frame.name()


def threads():
    """gdb's threads, which are QEMU's CPUs in its order, each selected in turn."""
    selected = gdb.selected_thread()
    try:
        for thread in sorted(gdb.selected_inferior().threads(), key=lambda thread: thread.num):
            thread.switch()
            yield thread
    finally:
        selected.switch()


def gs_base():
    """The selected CPU's GS base, or None as long as it has no area of its own."""
    base = register("gs_base")
    return base if base and register("rip") >= UPPER_HALF else None


def per_cpu_variable(name):
    """The template of a per-CPU variable, by its name or by enough of its path."""
    text = gdb.execute(f"info variables -q {name}", to_string=True)
    paths = {re.sub(r"::h[0-9a-f]{16}$", "", path) for path in re.findall(r"0x[0-9a-f]+ +(\S+)", text)}
    paths = {path for path in paths if path == name or path.endswith("::" + name)}
    symbols = {path: gdb.lookup_global_symbol(path) or gdb.lookup_static_symbol(path) for path in paths}
    templates = {path: symbol for path, symbol in symbols.items() if symbol and "PerCpuStorage<" in str(symbol.type)}
    if len(templates) != 1:
        names = ", ".join(sorted(templates)) or "none"
        raise gdb.GdbError(f"not one per-CPU variable is called {name}, but: {names}")
    return templates.popitem()


def copy_of(symbol, base):
    """A CPU's copy of a variable, without the cells around it."""
    template = symbol.value()
    address = (int(template.address) + base) & ADDRESS_BITS
    value = gdb.Value(address).cast(template.type.pointer()).dereference()
    while value.type.code == gdb.TYPE_CODE_STRUCT and len(value.type.fields()) == 1:
        value = value[value.type.fields()[0]]
    return value


def kernel_type(name):
    """A type of the kernel's."""
    try:
        return gdb.lookup_type(name)
    except gdb.error:
        raise gdb.GdbError(
            f"the kernel's debug information has no type {name}: build it with `debug = true` in the section of its profile in "
            "Cargo.toml, such as [profile.release]"
        )


def connect(socket):
    """Connects to QEMU, which may be about to start."""
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        try:
            gdb.execute(f"target remote {socket}", to_string=True)
            return
        except gdb.error:
            if time.monotonic() >= deadline:
                raise
        time.sleep(0.05)


# The states of a thread, in the order of `octopod::sched::state::Phase`.
states = ("running", "runnable", "about to park", "parked", "about to block", "blocked", "ended")

# The words that a switch saves (switch.S): six registers, the last one RBP, and the address where the thread continues.
saved_words = 7


def plain(value):
    """A value without the cells, atomics and other structures of one field around it."""
    while value.type.code == gdb.TYPE_CODE_STRUCT:
        # A type parameter that is not used takes no room.
        fields = [field for field in value.type.fields() if field.type.sizeof > 0]
        if len(fields) != 1:
            break
        value = value[fields[0]]
    return value


def unsigned(value):
    return int(plain(value)) & ADDRESS_BITS


def kernel_threads():
    """The control blocks of the threads that have not ended, by their numbers."""
    _, lists = per_cpu_variable("THREADS")
    bases = {gs_base() for _ in threads()} - {None}
    blocks = {}
    for base in bases:
        block = plain(copy_of(lists, base)["value"])
        while int(block) != 0:
            blocks[unsigned(block["entity"]["id"])] = block.dereference()
            block = plain(block["links"]["next"])
    return sorted(blocks.items())


def name_of(block):
    name = block["name"]
    data = gdb.selected_inferior().read_memory(int(name["bytes"].address), int(name["length"]))
    return bytes(data).decode("utf-8", "replace")


def running():
    """gdb's thread of the CPU that runs each thread, by the address of the control block."""
    header = kernel_type("octopod::cpu::thread::Thread").pointer()
    found = {}
    for thread in threads():
        if gs_base() is not None:
            current = gdb.Value(register("fs_base")).cast(header).dereference()
            found[unsigned(current["scheduled"])] = thread
    return found


def functions_at(address):
    """The functions of an instruction, the innermost first: those that the compiler has inlined, and the one that holds them."""
    try:
        block = gdb.block_for_pc(address)
    except RuntimeError:
        block = None
    while block is not None and not block.is_global and not block.is_static:
        if block.function is not None:
            yield block.function.print_name
        block = block.superblock


def show_saved(block):
    """Prints the backtrace of a thread that no CPU runs, by its frame pointers: its registers are on its stack."""
    header = block["fs_base"].dereference()
    bottom, top = unsigned(header["stack_bottom"]), unsigned(header["stack_top"])
    on_stack = lambda at: at % 8 == 0 and bottom <= at <= top - 16
    at = unsigned(block["saved_rsp"]) + 8 * (saved_words - 2)
    number = 0
    while number < 32 and on_stack(at):
        frame, address = word_at(at), word_at(at + 8)
        # The outermost frame of a CPU's first stack returns to 0.
        if address < UPPER_HALF:
            break
        # The instruction before is the call.
        line = gdb.find_pc_line(address - 1)
        if not line.symtab:
            break
        place = f" at {line.symtab.filename}:{line.line}"
        for name in list(functions_at(address - 1)) or ["?"]:
            print(f"#{number:<2} {address:#x} in {name}{place}")
            place = ""
            number += 1
        at = frame


class Octopod(gdb.Command):
    """What gdb cannot know of octopod by itself."""

    def __init__(self):
        super().__init__("octopod", gdb.COMMAND_USER, prefix=True)


class Connect(gdb.Command):
    """octopod connect KERNEL SOCKET [early]

    Connects to QEMU. With `early`, where QEMU loads the kernel to where it was linked, runs it up to rt0's first 64-bit
    instruction and reads how far it slid: then breakpoints by name hold from the first Rust function on."""

    def __init__(self):
        super().__init__("octopod connect", gdb.COMMAND_RUNNING)

    def invoke(self, argument, from_tty):
        path, socket, *early = gdb.string_to_argv(argument)
        gdb.execute("set confirm off")
        gdb.execute("set pagination off")
        gdb.execute("set architecture i386:x86-64", to_string=True)
        read_symbols(path)
        connect(socket)
        if not early:
            print("octopod: `continue`, interrupt the kernel when it is up, then `octopod symbols`")
            return
        physical = lambda name: linked[name] - linked["image_start"] + linked["rt0_phys"]
        # The address as such: gates and page tables are not up yet, and memory is seen where it lies.
        stop = gdb.Breakpoint(
            f"*{physical(LONG_MODE):#x}", type=gdb.BP_HARDWARE_BREAKPOINT, internal=True
        )
        gdb.execute("continue", to_string=True)
        stop.delete()
        if register("rip") != physical(LONG_MODE):
            raise gdb.GdbError("the kernel did not come to 64-bit mode")
        fields = {field.name: field.bitpos // 8 for field in kernel_type(HANDOFF_TYPE).fields()}
        slide_by(word_at(physical(HANDOFF) + fields["slide"]))


class Symbols(gdb.Command):
    """octopod symbols

    Finds out how far the kernel slid, and moves the symbols. For a CPU that runs the kernel: past rt0, or an AP that is
    up."""

    def __init__(self):
        super().__init__("octopod symbols", gdb.COMMAND_FILES)

    def invoke(self, argument, from_tty):
        for thread in threads():
            text = gdb.execute("monitor info registers", to_string=True)
            found = re.search(r"^IDT= *([0-9a-f]{16})", text, re.MULTILINE)
            gates = int(found.group(1), 16) if found else 0
            if gates >= UPPER_HALF:
                break
        else:
            raise gdb.GdbError("no CPU runs the kernel yet")
        # A gate of 16 bytes has its interrupt stack in byte 4; the NMI has one in the final table alone.
        has_stacks = word_at(gates + 2 * 16) >> 32 & 7 != 0
        slide_by(gates - linked[GATES[has_stacks]])


class PerCpu(gdb.Command):
    """octopod per-cpu VARIABLE [THREAD]

    Prints a per-CPU variable of every CPU that is up, or of the one that is gdb's THREAD."""

    def __init__(self):
        super().__init__("octopod per-cpu", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        name, *wanted = gdb.string_to_argv(argument) or [None]
        if name is None:
            raise gdb.GdbError("octopod per-cpu VARIABLE [THREAD]")
        path, symbol = per_cpu_variable(name)
        for thread in threads():
            base = gs_base()
            if base is None or (wanted and thread.num != int(wanted[0])):
                continue
            print(f"thread {thread.num}: {path} = {copy_of(symbol, base)}")


class Cpus(gdb.Command):
    """octopod cpus

    Lists all CPUs: gdb's thread, the kernel's number, and the function that each is in."""

    def __init__(self):
        super().__init__("octopod cpus", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        _, cpu_id = per_cpu_variable("CPU_ID")
        for thread in threads():
            base = gs_base()
            cpu = f"cpu {copy_of(cpu_id, base)}" if base is not None else "not up"
            place = outer_function() or "?"
            print(f"thread {thread.num}: {cpu}, {register('rip'):#x} {place}")


class Backtraces(gdb.Command):
    """octopod backtraces

    Prints the backtrace of every CPU that is up."""

    def __init__(self):
        super().__init__("octopod backtraces", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        for thread in threads():
            if gs_base() is not None:
                print(f"thread {thread.num}:")
                gdb.execute("backtrace 32")


class Threads(gdb.Command):
    """octopod threads

    Lists the kernel's threads that have not ended, with their states, and prints the backtrace of each, also of those that no
    CPU runs."""

    def __init__(self):
        super().__init__("octopod threads", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        on_cpus = running()
        for number, block in kernel_threads():
            phase = unsigned(block["state"]) & 0xFF
            state = states[min(phase, len(states) - 1)]
            on_cpu = on_cpus.get(int(block.address) & ADDRESS_BITS)
            where = f" on thread {on_cpu.num}" if on_cpu is not None else ""
            print(f'kernel thread {number} "{name_of(block)}": {state}{where}')
            if on_cpu is None:
                show_saved(block)
                continue
            selected = gdb.selected_thread()
            try:
                on_cpu.switch()
                gdb.execute("backtrace 32")
            finally:
                selected.switch()


for command in (Octopod, Connect, Symbols, PerCpu, Cpus, Backtraces, Threads):
    command()
