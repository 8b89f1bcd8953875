// Package acr is a source of credentials: Azure Container Registry.
package acr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/caddymodule/credentials"
)

func init() { caddy.RegisterModule(Source{}) }

// Source exchanges an Azure identity for a registry's refresh token
// (Azure Container Registry, "Authenticate with Microsoft Entra"). The identity
// is, in this order: the workload identity of AZURE_FEDERATED_TOKEN_FILE, the
// service principal of AZURE_CLIENT_SECRET (both with AZURE_TENANT_ID and
// AZURE_CLIENT_ID), or the managed identity of the machine. It serves
// *.azurecr.io, .cn and .us; other hosts get no credentials.
type Source struct {
	client           *http.Client
	getenv           func(string) string
	metadata, scheme string
}

// CaddyModule returns the Caddy module information.
func (Source) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "registry_mirror.credentials.acr",
		New: func() caddy.Module { return new(Source) },
	}
}

// Provision implements caddy.Provisioner.
func (s *Source) Provision(caddy.Context) error {
	*s = Source{
		client:   newClient(),
		getenv:   os.Getenv,
		metadata: "http://" + metadataHost + "/metadata/identity/oauth2/token",
		scheme:   "https",
	}
	return nil
}

const metadataHost = "169.254.169.254"

func newClient() *http.Client {
	return &http.Client{
		Timeout: 5 * time.Second,
		// Nothing here redirects in earnest, and the forms hold secrets.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DisableKeepAlives: true, // an exchange is rare
			Proxy: func(r *http.Request) (*url.URL, error) {
				if r.URL.Hostname() == metadataHost {
					return nil, nil // it answers on this machine only
				}
				return http.ProxyFromEnvironment(r)
			},
		},
	}
}

const (
	// maxAnswer is how many bytes of an answer are read.
	maxAnswer = 64 << 10
	audience  = "https://containerregistry.azure.net"
	// tokenUser is the user name that ACR gives all token users.
	tokenUser = "00000000-0000-0000-0000-000000000000"
)

// Login implements credentials.Source.
func (s *Source) Login(ctx context.Context, host string) (credentials.Login, error) {
	if !isACR(host) {
		return credentials.Login{}, nil
	}
	identity, err := s.identity(ctx)
	if err != nil {
		return credentials.Login{}, fmt.Errorf("get Azure identity: %w", err)
	}
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	form := url.Values{"grant_type": {"access_token"}, "service": {host}, "access_token": {identity}}
	if err := s.post(ctx, s.scheme+"://"+host+"/oauth2/exchange", form, &answer); err != nil {
		return credentials.Login{}, fmt.Errorf("exchange Azure identity at %s: %w", host, err)
	}
	if answer.RefreshToken == "" {
		return credentials.Login{}, fmt.Errorf("exchange Azure identity at %s: answer holds no token", host)
	}
	return credentials.Login{Username: tokenUser, IdentityToken: answer.RefreshToken}, nil
}

func isACR(host string) bool {
	return strings.HasSuffix(host, ".azurecr.io") || strings.HasSuffix(host, ".azurecr.cn") ||
		strings.HasSuffix(host, ".azurecr.us")
}

func (s *Source) identity(ctx context.Context) (string, error) {
	tenant, client := s.getenv("AZURE_TENANT_ID"), s.getenv("AZURE_CLIENT_ID")
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {client}, "scope": {audience + "/.default"},
	}
	file, secret := s.getenv("AZURE_FEDERATED_TOKEN_FILE"), s.getenv("AZURE_CLIENT_SECRET")
	switch {
	case tenant == "" || client == "" || file == "" && secret == "":
		return s.managedIdentity(ctx, client)
	case file != "":
		assertion, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", strings.TrimSpace(string(assertion)))
	default:
		form.Set("client_secret", secret)
	}
	authority := s.getenv("AZURE_AUTHORITY_HOST")
	if authority == "" {
		authority = "https://login.microsoftonline.com"
	}
	var answer accessToken
	endpoint := strings.TrimSuffix(authority, "/") + "/" + url.PathEscape(tenant) + "/oauth2/v2.0/token"
	if err := s.post(ctx, endpoint, form, &answer); err != nil {
		return "", err
	}
	return answer.check()
}

func (s *Source) managedIdentity(ctx context.Context, client string) (string, error) {
	query := url.Values{"api-version": {"2018-02-01"}, "resource": {audience}}
	if client != "" {
		query.Set("client_id", client)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.metadata+"?"+query.Encode(), nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("Metadata", "true")
	var answer accessToken
	if err := s.do(r, &answer); err != nil {
		return "", err
	}
	return answer.check()
}

type accessToken struct {
	AccessToken string `json:"access_token"`
}

func (a accessToken) check() (string, error) {
	if a.AccessToken == "" {
		return "", errors.New("answer holds no token")
	}
	return a.AccessToken, nil
}

func (s *Source) post(ctx context.Context, endpoint string, form url.Values, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return s.do(r, into)
}

func (s *Source) do(r *http.Request, into any) error {
	resp, err := s.client.Do(r)
	if err != nil {
		return withoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %d", r.URL.Host, resp.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("%s answered no JSON", r.URL.Host)
	}
	return nil
}

// withoutURL takes the URL, and with it any query, out of an http.Client's error.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// Interface guards
var (
	_ caddy.Provisioner  = (*Source)(nil)
	_ credentials.Source = (*Source)(nil)
)
