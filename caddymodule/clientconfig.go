package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/clientconfig"
)

// clientConfig is the command "mirror client-config".
type clientConfig struct {
	endpoint, username, passwordFile, authority string
	out, address, config, adapter               string

	options clientconfig.Options
}

func clientConfigCommand() *cobra.Command {
	var c clientConfig
	clients := clientconfig.Clients()
	names := make([]string, len(clients))
	for n, client := range clients {
		names[n] = client.Name
	}
	cmd := &cobra.Command{
		Use:   "client-config <client> [<upstream>...]",
		Short: "Prints the files that make a client pull through the gateway",
		Long: `
Prints the files that make a client pull through the gateway:

	talos       a patch of documents for talosctl, one for each registry
	containerd  a hosts.toml for each registry, for /etc/containerd/certs.d
	k3s         registries.yaml, for /etc/rancher/k3s (RKE2: /etc/rancher/rke2)
	docker      daemon.json, for /etc/docker
	podman      a drop-in of registries.conf, for /etc/containers; skopeo, Buildah
	crio        the same for CRI-O, for /etc
	buildkit    buildkitd.toml, for /etc/buildkit

What is not given is asked of the running server: the address of the gateway,
its upstreams and, where Caddy's own authority signs its certificate, that.
Without a running server, name all of them.

Several files come one after the other, each under a line with its path. With
--out they are written below a folder instead; existing files are kept unless
they are equal. A file with a password is readable for its owner only.`,
		Example: `  pullgate mirror client-config talos --endpoint https://mirror.example.com > mirror.yaml
  pullgate mirror client-config containerd --endpoint http://gate:5000 --out /etc/containerd/certs.d docker.io ghcr.io
  pullgate mirror client-config k3s --user talos --password-file - --ca root.crt --skip-fallback`,
		ValidArgs: names,
		Args:      cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			return c.run(cmd, args[0], args[1:])
		},
	}
	f := cmd.Flags()
	f.StringVarP(&c.endpoint, "endpoint", "e", "", "Where clients reach the gateway, such as https://mirror.example.com")
	f.StringVarP(&c.username, "user", "u", "", "The user that clients log in as")
	f.StringVar(&c.passwordFile, "password-file", "", "File with the user's password, - for standard input")
	f.StringVar(&c.authority, "ca", "", "File with the authority (PEM) that signed the gateway's certificate")
	f.BoolVar(&c.options.SkipFallback, "skip-fallback", false, "Never go around the gateway")
	f.BoolVar(&c.options.ByNamespace, "ns", false, "One address for all registries, told apart by the parameter ns")
	f.BoolVar(&c.options.MachineConfig, "machine-config", false, "Talos before 1.12: a patch of the machine configuration")
	f.StringVarP(&c.out, "out", "o", "", "Write the files below this folder")
	f.StringVar(&c.address, "address", "", "The address of the running server's admin API, if it is not in the configuration")
	f.StringVarP(&c.config, "config", "c", "", "Configuration file, to find the admin API's address")
	f.StringVarP(&c.adapter, "adapter", "a", "", "Name of config adapter to apply (when --config is used)")
	return cmd
}

func (c *clientConfig) run(cmd *cobra.Command, name string, upstreams []string) error {
	clients := clientconfig.Clients()
	at := slices.IndexFunc(clients, func(client clientconfig.Client) bool { return client.Name == name })
	if at < 0 {
		return fmt.Errorf("unknown client %q: want one of %s", name, strings.Join(cmd.ValidArgs, ", "))
	}
	c.options.Upstreams = upstreams
	if err := c.read(cmd.InOrStdin()); err != nil {
		return err
	}
	if err := c.discover(cmd.Context()); err != nil {
		return err
	}
	files, err := clients[at].Files(c.options)
	if err != nil {
		return err
	}
	if c.out != "" {
		return writeFiles(cmd.OutOrStdout(), c.out, files)
	}
	for n, file := range files {
		if len(files) > 1 {
			if n > 0 {
				fmt.Fprintln(cmd.OutOrStdout())
			}
			fmt.Fprintf(cmd.OutOrStdout(), "# %s\n", file.Path)
		}
		if _, err := cmd.OutOrStdout().Write(file.Content); err != nil {
			return err
		}
	}
	return nil
}

// read reads what the flags name.
func (c *clientConfig) read(stdin io.Reader) (err error) {
	if c.endpoint != "" {
		if c.options.Endpoint, err = url.Parse(c.endpoint); err != nil {
			return fmt.Errorf("endpoint: %w", err)
		}
	}
	if c.authority != "" {
		if c.options.Authority, err = os.ReadFile(c.authority); err != nil {
			return fmt.Errorf("certificate authority: %w", err)
		}
	}
	if (c.username == "") != (c.passwordFile == "") {
		return errors.New("--user and --password-file go together: a password on the command line would be seen by others")
	}
	if c.username == "" {
		return nil
	}
	c.options.Username = c.username
	var raw []byte
	if c.passwordFile == "-" {
		raw, err = io.ReadAll(io.LimitReader(stdin, 1<<16))
	} else {
		raw, err = os.ReadFile(c.passwordFile)
	}
	if err != nil {
		return fmt.Errorf("password: %w", err)
	}
	c.options.Password = strings.TrimRight(string(raw), "\r\n")
	if c.options.Password == "" {
		return fmt.Errorf("password: %s is empty", c.passwordFile)
	}
	return nil
}

// discover asks the running server for what was not given.
func (c *clientConfig) discover(ctx context.Context) error {
	if c.options.Endpoint != nil && len(c.options.Upstreams) > 0 {
		return nil
	}
	address, err := caddycmd.DetermineAdminAPIAddress(c.address, nil, c.config, c.adapter)
	if err != nil {
		return err
	}
	config, err := adminGet(ctx, address, "/config/")
	if err != nil {
		return fmt.Errorf("no server to ask for what was not given; start it, or give --endpoint and the upstreams: %w", err)
	}
	endpoints, err := endpointsOf(config)
	if err != nil {
		return fmt.Errorf("configuration of the server at %s: %w", address, err)
	}
	chosen, err := choose(endpoints, c.options.Endpoint)
	if err != nil {
		return fmt.Errorf("the server at %s %w", address, err)
	}
	if c.options.Endpoint == nil {
		if c.options.Endpoint, err = url.Parse(chosen.url); err != nil {
			return err
		}
	}
	if len(c.options.Upstreams) == 0 {
		c.options.Upstreams = chosen.upstreams
	}
	if len(c.options.Authority) > 0 || chosen.authority == "" {
		return nil
	}
	raw, err := adminGet(ctx, address, "/pki/ca/"+url.PathEscape(chosen.authority))
	if err != nil {
		return fmt.Errorf("certificate authority %s of the server at %s: %w", chosen.authority, address, err)
	}
	var info struct {
		Root string `json:"root_certificate"`
	}
	if err := json.Unmarshal(raw, &info); err != nil {
		return fmt.Errorf("certificate authority %s of the server at %s: %w", chosen.authority, address, err)
	}
	c.options.Authority = []byte(info.Root)
	return nil
}

// choose picks the endpoint that clients are to use: the one at the URL, or the
// only one that other machines can reach. All upstreams of that address count.
func choose(endpoints []endpoint, at *url.URL) (chosen endpoint, err error) {
	var urls []string
	for _, e := range endpoints {
		switch {
		case at == nil && (e.url == "" || e.loopback):
			continue
		case at != nil && e.url != "" && e.url != at.Scheme+"://"+at.Host:
			continue
		}
		if e.url != "" && !slices.Contains(urls, e.url) {
			urls = append(urls, e.url)
		}
		if chosen.url == "" {
			chosen.url, chosen.authority = e.url, e.authority
		}
		for _, name := range e.upstreams {
			if !slices.Contains(chosen.upstreams, name) {
				chosen.upstreams = append(chosen.upstreams, name)
			}
		}
	}
	switch {
	case len(endpoints) == 0:
		return endpoint{}, errors.New("mirrors no registries")
	case at == nil && len(urls) == 0:
		return endpoint{}, errors.New("names no host that other machines could reach it by: give --endpoint")
	case at == nil && len(urls) > 1:
		return endpoint{}, fmt.Errorf("serves at several addresses, give one of them as --endpoint: %s", strings.Join(urls, ", "))
	case len(chosen.upstreams) == 0:
		return endpoint{}, fmt.Errorf("does not serve at %s, as far as its configuration tells: name the upstreams", at)
	}
	return chosen, nil
}

// adminGet reads an answer of the admin API of a running server.
func adminGet(ctx context.Context, address, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	response, err := askAdmin(ctx, address, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(io.LimitReader(response.Body, 64<<20))
}

// writeFiles writes files below a folder. What is there already is not
// overwritten by something else.
func writeFiles(report io.Writer, folder string, files []clientconfig.File) error {
	for _, file := range files {
		name := filepath.Join(folder, filepath.FromSlash(file.Path))
		old, err := os.ReadFile(name)
		switch {
		case err == nil && bytes.Equal(old, file.Content):
			fmt.Fprintln(report, name+" is up to date")
			continue
		case err == nil:
			return fmt.Errorf("%s exists and holds something else: move it away first", name)
		case !errors.Is(err, os.ErrNotExist):
			return err
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if file.Secret {
			mode = 0o600
		}
		if err := os.WriteFile(name, file.Content, mode); err != nil {
			return err
		}
		fmt.Fprintln(report, "wrote "+name)
	}
	return nil
}
