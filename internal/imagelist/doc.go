// Package imagelist reads which images somebody wants: references one per line, as
// talosctl, kubeadm and k3s print them, or the image fields of Kubernetes objects
// and of Talos machine configurations, in YAML or JSON.
//
// It needs no registry: what a list names need not exist. Names are completed as
// container runtimes do it ("alpine" is docker.io/library/alpine:latest).
package imagelist
