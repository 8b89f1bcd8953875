// Bench measures a whole gateway: the binary as it is shipped, in a process of
// its own, between clients and a simulated upstream. What it prints are ratios
// to a plain net/http server, to Caddy's own handlers, to a bare loop that receives,
// hashes, stores and sends, to a client that pulls without any gateway, and to other
// registries, all of the same run, since times of different machines and different
// hours cannot be compared.
//
//	go run ./integration/bench -binary bin/pullgate
//
// Each figure is the median of several rounds in which the contestants take
// turns. Client, gateway and upstream share the machine.
package main
