// Package clientconfig writes the files that tell clients to pull through a
// gateway: for Talos Linux, containerd and what uses its resolver, k3s and RKE2,
// Docker, Podman, CRI-O, BuildKit, and Kubernetes on one machine.
//
// It only makes text out of Options, and knows nothing of servers or disks: the
// same options always give the same files. What a client has no way to express is
// an error that says so, rather than a file that does less than was asked for.
//
// What the clients make of the files is written down where each is made; the
// routes that they lead to are those of package registry.
package clientconfig
