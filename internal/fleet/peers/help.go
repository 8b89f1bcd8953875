package peers

import (
	"crypto/tls"
	"errors"
	"net"
	"syscall"
)

// help returns what helps where no gateway answers.
func help(err error) string {
	_, foreign := errors.AsType[tls.RecordHeaderError](err)
	_, unfound := errors.AsType[*net.DNSError](err)
	switch {
	case errors.Is(err, errSecret):
		return "give all gateways the same secret in the option fleet, then reload each of them"
	case errors.Is(err, errNoAnswer):
		return "see whether that machine runs and is not overloaded, and whether a firewall lies in between"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "start the gateway there, or correct the option peers: it listens for other gateways at another port, or not at all"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "see whether that machine runs, and whether there is a route to it"
	case foreign:
		return "correct the option peers: the port is not the one of the option listen"
	case unfound:
		return "correct the name in the option peers, or its DNS"
	}
	return "look into the log of the gateway there"
}
