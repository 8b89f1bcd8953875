// Package ecr is a source of credentials: Amazon's Elastic Container Registry, public and
// private.
package ecr

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecrpublic"
	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/caddymodule/credentials"
)

func init() { caddy.RegisterModule(Source{}) }

// Source asks AWS for a registry token, as whoever the AWS SDK finds in its usual
// places. It serves private ECR registries and public.ecr.aws; other hosts get no
// credentials.
type Source struct{}

// CaddyModule returns the Caddy module information.
func (Source) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "registry_mirror.credentials.ecr",
		New: func() caddy.Module { return new(Source) },
	}
}

// publicECR is where the tokens of public.ecr.aws are issued, whatever the
// region of the asker.
const (
	publicECR       = "public.ecr.aws"
	publicECRRegion = "us-east-1"
)

// parseHost reads the endpoints of private registries (AWS General Reference,
// "Amazon ECR endpoints and quotas"): the account, "-fips", the region.
func parseHost(host string) (region string, fips, ok bool) {
	m := regexp.MustCompile(
		`^[0-9]{12}\.dkr[.-]ecr(-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws|on\.amazonwebservices\.com\.cn)$`,
	).FindStringSubmatch(host)
	if m == nil {
		return "", false, false
	}
	return m[2], m[1] != "", true
}

// Login implements credentials.Source.
func (Source) Login(ctx context.Context, registry string) (credentials.Login, error) {
	region, fips, private := parseHost(registry)
	switch {
	case private:
	case registry == publicECR:
		region = publicECRRegion
	default:
		return credentials.Login{}, nil
	}
	options := []func(*config.LoadOptions) error{config.WithRegion(region)}
	if fips {
		options = append(options, config.WithUseFIPSEndpoint(aws.FIPSEndpointStateEnabled))
	}
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return credentials.Login{}, fmt.Errorf("load AWS configuration: %w", err)
	}
	encoded, err := token(ctx, loaded, private)
	if err != nil {
		return credentials.Login{}, fmt.Errorf("get ECR token in %s: %w", region, err)
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	user, password, ok := strings.Cut(string(raw), ":")
	if err != nil || !ok {
		return credentials.Login{}, fmt.Errorf("get ECR token in %s: answer holds no user and password", region)
	}
	return credentials.Login{Username: user, Password: password}, nil
}

// token returns base64 of "AWS:password", as a Basic header takes it.
func token(ctx context.Context, c aws.Config, private bool) (string, error) {
	if !private {
		out, err := ecrpublic.NewFromConfig(c).GetAuthorizationToken(ctx, &ecrpublic.GetAuthorizationTokenInput{})
		if err != nil {
			return "", err
		}
		if out.AuthorizationData == nil {
			return "", errors.New("answer holds no token")
		}
		return aws.ToString(out.AuthorizationData.AuthorizationToken), nil
	}
	out, err := ecr.NewFromConfig(c).GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		return "", err
	}
	if len(out.AuthorizationData) == 0 {
		return "", errors.New("answer holds no token")
	}
	return aws.ToString(out.AuthorizationData[0].AuthorizationToken), nil
}

// Interface guards
var _ credentials.Source = (*Source)(nil)
