package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/pullgate/pullgate/internal/operate"
)

// adminForms says how the address of an admin API is written.
const adminForms = "localhost:2019, or unix/ and the path of a socket, which is admin.sock in the storage folder of \"mirror serve\""

// answerTime is how long a server may take to answer.
const answerTime = 5 * time.Second

// Client returns the gateway whose server has its admin API at an address.
func Client(address string) *operate.Client {
	return &operate.Client{Address: address, Ask: asking(address)} //nolint:bodyclose // the client closes what it asks for
}

// OpenStores asks a server which stores it has open.
func OpenStores(ctx context.Context, address string) (paths []string, err error) {
	status, err := Client(address).Status(ctx, "")
	for _, s := range status.Storage {
		paths = append(paths, s.Path)
	}
	return paths, err
}

// Get reads an answer of a server that is no verb, such as its configuration.
func Get(ctx context.Context, address, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	response, err := asking(address)(ctx, http.MethodGet, path, nil) //nolint:bodyclose // it is closed below
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(io.LimitReader(response.Body, 64<<20))
}

// asking returns what makes requests to an admin API, as operate.Client wants it.
func asking(address string) func(ctx context.Context, method, uri string, body io.Reader) (*http.Response, error) {
	return func(ctx context.Context, method, uri string, body io.Reader) (*http.Response, error) {
		if err := checkSocket(ctx, address); err != nil {
			return nil, err
		}
		type answer struct {
			response *http.Response
			err      error
		}
		answered := make(chan answer, 1)
		go func() {
			response, err := caddycmd.AdminAPIRequest(address, method, uri, nil, body) //nolint:bodyclose // whoever gets it does
			answered <- answer{response, err}
		}()
		select {
		case a := <-answered:
			if a.err != nil {
				return nil, a.err
			}
			context.AfterFunc(ctx, func() { a.response.Body.Close() })
			return a.response, nil
		case <-ctx.Done():
			go func() {
				if a := <-answered; a.err == nil {
					a.response.Body.Close()
				}
			}()
			return nil, ctx.Err()
		}
	}
}

// checkSocket tells whether the socket of another user is why nobody can be asked.
func checkSocket(ctx context.Context, address string) error {
	conn, err := dialSocket(ctx, address)
	if conn != nil {
		return conn.Close()
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: the server there belongs to another user: run this as that one, such as with sudo -u", fs.ErrPermission)
	}
	return nil // what else is wrong, the request tells
}

// Explain says what answers at an address in place of an admin API.
func Explain(ctx context.Context, address string, err error) error {
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
	response, failed := http.DefaultClient.Do(q)
	if failed != nil {
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
