// Package nodes holds tests that have the own code of Talos and of Rancher's distributions
// read what Pullgate writes for their nodes. It is a module of its own, since their code
// brings much with it.
package nodes
