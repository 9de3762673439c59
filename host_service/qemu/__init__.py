"""QEMU's virtual machines as this project uses them: from outside, over QMP and shared memory.

`processes`, `monitor`, `memory`: a running VM. `handshake`, `manifest`: its guest. `stash`,
`keeper`, `pump`, `checkpoint`: a checkpoint, step by step. `store`: where checkpoints lie.
"""
