package command

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/terminal"
)

func healthCommand() *cobra.Command {
	var timeout time.Duration
	cmd := mirrorCommand(&cobra.Command{
		Use:   "health [<url>]",
		Short: "Asks a gateway whether it answers pulls",
		Long: `
Asks a gateway whether it answers pulls, as probes do: for the health check of a
container whose image has no curl. The gateway needs the directive
registry_mirror_health, which "mirror serve" has by itself.

The URL is http://127.0.0.1:5000 unless another one is given; its path is /readyz
unless it has one, such as /healthz. Of a gateway on this machine any certificate
will do, as it is made out for another name.

The exit code is 0 if it does, and 1 if it does not or nobody answers.`,
		Example: `  pullgate mirror health
  pullgate mirror health https://localhost/healthz`,
		Args: cobra.MaximumNArgs(1),
	}, func(cmd *cobra.Command) (int, error) {
		text := "http://127.0.0.1:5000"
		if args := cmd.Flags().Args(); len(args) > 0 {
			text = args[0]
		}
		at, err := healthURL(text)
		if err != nil {
			return exitFailure, err
		}
		answer, err := askHealth(cmd.Context(), at, timeout)
		if err != nil {
			return exitFindings, err
		}
		fmt.Fprintln(cmd.OutOrStdout(), answer)
		return 0, nil
	})
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "How long to wait for the answer")
	return cmd
}

// healthURL returns the URL to ask, of what may lack scheme and path.
func healthURL(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	at, err := url.Parse(text)
	if err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" {
		return nil, fmt.Errorf("%s is no URL of a gateway: write it as http://127.0.0.1:5000", text)
	}
	if strings.Trim(at.Path, "/") == "" {
		at.Path = "/readyz"
	}
	return at, nil
}

// askHealth returns what a gateway answers if it is well.
func askHealth(ctx context.Context, at *url.URL, timeout time.Duration) (string, error) {
	addr, _ := netip.ParseAddr(at.Hostname())
	local := at.Hostname() == "localhost" || addr.IsLoopback()
	client := &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DialContext: (&net.Dialer{}).DialContext, DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: local}, //nolint:gosec // nothing secret is sent to this machine
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", fmt.Errorf("no answer: %w", err)
	}
	defer response.Body.Close()
	scanner := bufio.NewScanner(response.Body)
	scanner.Scan()
	text := terminal.Printable(scanner.Text())
	switch status := response.StatusCode; {
	case status == http.StatusNotFound, status == http.StatusOK && !strings.HasPrefix(text, "ok"):
		// What no handler answers, Caddy does with an empty 200.
		return "", fmt.Errorf("%s answers %s, but no probe: give the site the directive registry_mirror_health", at, response.Status)
	case status != http.StatusOK:
		return "", fmt.Errorf("%s answers %s: %s", at, response.Status, text)
	}
	return text, nil
}
