package upstream

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

	"github.com/google/go-containerregistry/pkg/authn"
)

// ACRCredentials exchange an Azure identity for a registry's refresh token
// (Azure Container Registry, "Authenticate with Microsoft Entra"). The identity
// is, in this order: the workload identity of AZURE_FEDERATED_TOKEN_FILE, the
// service principal of AZURE_CLIENT_SECRET (both with AZURE_TENANT_ID and
// AZURE_CLIENT_ID), or the managed identity of the machine. They serve
// *.azurecr.io, .cn and .us; other hosts get none.
func ACRCredentials() Credentials {
	return fromKeychain(acrKeychain{
		client:   newACRClient(),
		getenv:   os.Getenv,
		metadata: "http://" + acrMetadataHost + "/metadata/identity/oauth2/token",
		scheme:   "https",
	})
}

const acrMetadataHost = "169.254.169.254"

func newACRClient() *http.Client {
	return &http.Client{
		Timeout: 5 * time.Second,
		// Nothing here redirects in earnest, and the forms hold secrets.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DisableKeepAlives: true, // an exchange is rare
			Proxy: func(r *http.Request) (*url.URL, error) {
				if r.URL.Hostname() == acrMetadataHost {
					return nil, nil // it answers on this machine only
				}
				return http.ProxyFromEnvironment(r)
			},
		},
	}
}

const (
	acrAudience = "https://containerregistry.azure.net"
	// acrUser is the user name that ACR gives all token users.
	acrUser = "00000000-0000-0000-0000-000000000000"
)

type acrKeychain struct {
	client           *http.Client
	getenv           func(string) string
	metadata, scheme string
}

// Resolve implements authn.Keychain.
func (k acrKeychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), r)
}

// ResolveContext implements authn.ContextKeychain.
func (k acrKeychain) ResolveContext(ctx context.Context, r authn.Resource) (authn.Authenticator, error) {
	host := r.RegistryStr()
	if !isACR(host) {
		return authn.Anonymous, nil
	}
	identity, err := k.identity(ctx)
	if err != nil {
		return nil, fmt.Errorf("get Azure identity: %w", err)
	}
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	form := url.Values{"grant_type": {"access_token"}, "service": {host}, "access_token": {identity}}
	if err := k.post(ctx, k.scheme+"://"+host+"/oauth2/exchange", form, &answer); err != nil {
		return nil, fmt.Errorf("exchange Azure identity at %s: %w", host, err)
	}
	if answer.RefreshToken == "" {
		return nil, fmt.Errorf("exchange Azure identity at %s: answer holds no token", host)
	}
	return authn.FromConfig(authn.AuthConfig{Username: acrUser, IdentityToken: answer.RefreshToken}), nil
}

func isACR(host string) bool {
	return strings.HasSuffix(host, ".azurecr.io") || strings.HasSuffix(host, ".azurecr.cn") ||
		strings.HasSuffix(host, ".azurecr.us")
}

func (k acrKeychain) identity(ctx context.Context) (string, error) {
	tenant, client := k.getenv("AZURE_TENANT_ID"), k.getenv("AZURE_CLIENT_ID")
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {client}, "scope": {acrAudience + "/.default"},
	}
	file, secret := k.getenv("AZURE_FEDERATED_TOKEN_FILE"), k.getenv("AZURE_CLIENT_SECRET")
	switch {
	case tenant == "" || client == "" || file == "" && secret == "":
		return k.managedIdentity(ctx, client)
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
	authority := k.getenv("AZURE_AUTHORITY_HOST")
	if authority == "" {
		authority = "https://login.microsoftonline.com"
	}
	var answer accessToken
	endpoint := strings.TrimSuffix(authority, "/") + "/" + url.PathEscape(tenant) + "/oauth2/v2.0/token"
	if err := k.post(ctx, endpoint, form, &answer); err != nil {
		return "", err
	}
	return answer.check()
}

func (k acrKeychain) managedIdentity(ctx context.Context, client string) (string, error) {
	query := url.Values{"api-version": {"2018-02-01"}, "resource": {acrAudience}}
	if client != "" {
		query.Set("client_id", client)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, k.metadata+"?"+query.Encode(), nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("Metadata", "true")
	var answer accessToken
	if err := k.do(r, &answer); err != nil {
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

func (k acrKeychain) post(ctx context.Context, endpoint string, form url.Values, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return k.do(r, into)
}

func (k acrKeychain) do(r *http.Request, into any) error {
	resp, err := k.client.Do(r)
	if err != nil {
		return withoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %d", r.URL.Host, resp.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxTokenAnswer)).Decode(into); err != nil {
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
