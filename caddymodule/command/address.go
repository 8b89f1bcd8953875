package command

import (
	"fmt"
	"net"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/internal/listener"
)

// checkAddress refuses an address that is written as other programs have it, and says
// how Caddy does. host and port are the usual ones.
func checkAddress(option, text, host, port string) error {
	if text == "" || text == "off" {
		return nil
	}
	if want := listener.Form(text, host, port); want != text {
		return fmt.Errorf("%s %s: did you mean %s?", option, text, want)
	}
	if _, err := caddy.ParseNetworkAddress(text); err != nil {
		return fmt.Errorf("%s %s: %w: want such as %s", option, text, err, net.JoinHostPort(host, port))
	}
	return nil
}
