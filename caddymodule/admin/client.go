package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/internal/listener"
)

// adminForms says how the address of an admin API is written.
const adminForms = "localhost:2019, or unix/ and the path of a socket, which is admin.sock in the storage folder of \"mirror serve\""

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

// checkSocket tells whether the socket of another user is why nobody can be asked.
func checkSocket(ctx context.Context, address string) error {
	at, err := caddy.ParseNetworkAddress(address)
	if err != nil || !at.IsUnixNetwork() {
		return nil //nolint:nilerr // it is no socket, and what is wrong with it others say
	}
	path, _, _ := strings.Cut(at.Host, "|")
	conn, err := new(net.Dialer).DialContext(ctx, at.Network, path)
	if err == nil {
		return conn.Close()
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: the server there belongs to another user: run this as that one, such as with sudo -u", fs.ErrPermission)
	}
	return nil // what else is wrong, the request tells
}

// explain says what answers at an address in place of an admin API.
func explain(ctx context.Context, address string, err error) error {
	at, parsing := caddy.ParseNetworkAddress(address)
	if parsing != nil || at.IsUnixNetwork() || at.IsFdNetwork() || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	q, making := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.JoinHostPort(0)+"/v2/", nil)
	if making != nil {
		return err
	}
	response, asking := http.DefaultClient.Do(q)
	if asking != nil {
		return err
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	switch {
	case response.Header.Get("Docker-Distribution-Api-Version") != "":
		return fmt.Errorf("%s is where clients pull, and no admin API: want %s", address, adminForms)
	case response.StatusCode == http.StatusBadRequest && strings.Contains(string(body), "HTTPS server"):
		return fmt.Errorf("%s speaks TLS, as no admin API does: want %s", address, adminForms)
	case strings.Contains(err.Error(), "read answer"):
		return fmt.Errorf("what answers at %s is no admin API of a gateway: want %s", address, adminForms)
	}
	return err
}
