package upstream

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecrpublic"
	"github.com/google/go-containerregistry/pkg/authn"
)

// ECRCredentials ask AWS for a registry token, as whoever the AWS SDK finds in
// its usual places. They serve private ECR registries and public.ecr.aws; other
// hosts get none.
func ECRCredentials() Credentials { return fromKeychain(ecrKeychain{}) }

type ecrKeychain struct{}

// publicECR is where the tokens of public.ecr.aws are issued, whatever the
// region of the asker.
const (
	publicECR       = "public.ecr.aws"
	publicECRRegion = "us-east-1"
)

// ecrHosts are the endpoints of private registries (AWS General Reference,
// "Amazon ECR endpoints and quotas"): the account, "-fips", the region.
func ecrHost(host string) (region string, fips, ok bool) {
	m := regexp.MustCompile(
		`^[0-9]{12}\.dkr[.-]ecr(-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws|on\.amazonwebservices\.com\.cn)$`,
	).FindStringSubmatch(host)
	if m == nil {
		return "", false, false
	}
	return m[2], m[1] != "", true
}

// Resolve implements authn.Keychain.
func (k ecrKeychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), r)
}

// ResolveContext implements authn.ContextKeychain.
func (ecrKeychain) ResolveContext(ctx context.Context, r authn.Resource) (authn.Authenticator, error) {
	region, fips, private := ecrHost(r.RegistryStr())
	switch {
	case private:
	case r.RegistryStr() == publicECR:
		region = publicECRRegion
	default:
		return authn.Anonymous, nil
	}
	options := []func(*config.LoadOptions) error{config.WithRegion(region)}
	if fips {
		options = append(options, config.WithUseFIPSEndpoint(aws.FIPSEndpointStateEnabled))
	}
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("load AWS configuration: %w", err)
	}
	token, err := ecrToken(ctx, loaded, private)
	if err != nil {
		return nil, fmt.Errorf("get ECR token in %s: %w", region, err)
	}
	return authn.FromConfig(authn.AuthConfig{Auth: token}), nil
}

// ecrToken returns base64 of "AWS:password", as a Basic header takes it.
func ecrToken(ctx context.Context, c aws.Config, private bool) (string, error) {
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
