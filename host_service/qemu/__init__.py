"""QEMU's virtual machines as this project uses them: from outside, over QMP and shared memory.

`processes`, `monitor`, `memory`: a running VM. `handshake`, `manifest`: its guest. `stash`,
`keeper`, `pump`, `disks`, `checkpoint`: a checkpoint, step by step; `outcome`: what it came to.
`store`, `listing`: where checkpoints lie. `restore`: back to one.
"""
