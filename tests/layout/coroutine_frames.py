"""gcc 12 lays out some coroutine frames wrongly: a variable stands before the resume function, which the frame has to
begin with, and the program dies when the coroutine is entered. Seen with `if (co_await f(parameter))`; a named result
avoids it. This finds any such frame in the debug information of a binary."""
import subprocess
import sys


def misplaced(binary):
    dump = subprocess.Popen(["readelf", "-wi", binary], stdout=subprocess.PIPE, text=True, errors="replace")
    frames, wrong, structure, member = 0, [], None, None
    for line in dump.stdout:
        if "DW_TAG_structure_type" in line:
            structure = ""
        elif "DW_AT_name" in line:
            member = line.split(": ")[-1].strip()
            structure = structure or member
        elif "DW_AT_data_member_location" in line and member == "_Coro_resume_fn":
            frames += 1
            if line.split(":")[1].strip() != "0":
                wrong.append(structure)
    return frames, wrong


frames, wrong = misplaced(sys.argv[1])
print(f"{frames} coroutine frames, {len(wrong)} laid out wrongly")
for frame in wrong:
    print(f"  {frame}: give the result of its co_await a name before testing it")
sys.exit(bool(wrong) or frames == 0)
