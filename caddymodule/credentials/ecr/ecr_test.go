package ecr

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/caddymodule/credentials"
)

func TestHosts(t *testing.T) {
	for host, want := range map[string]string{
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com":          "eu-west-1 false",
		"123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com": "us-gov-west-1 true",
		"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn":      "cn-north-1 false",
		"123456789012.dkr-ecr.eu-west-1.on.aws":                 "eu-west-1 false",
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil":     "",
		"x.dkr.ecr.eu-west-1.amazonaws.com":                     "",
		"public.ecr.aws":                                        "",
	} {
		region, fips, ok := parseHost(host)
		if ok != (want != "") || ok && fmt.Sprint(region, " ", fips) != want {
			t.Errorf("%s: %q %v %v", host, region, fips, ok)
		}
	}
}

func TestLogin(t *testing.T) {
	token := base64.StdEncoding.EncodeToString([]byte("AWS:secret"))
	var calls []string
	fail := false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls = append(calls, r.Header.Get("X-Amz-Target"))
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		switch {
		case fail:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type":"InvalidParameterException","message":"x"}`)
		case strings.HasPrefix(r.Header.Get("X-Amz-Target"), "SpencerFrontendService."):
			_, _ = io.WriteString(w, `{"authorizationData":{"authorizationToken":"`+token+`"}}`)
		default:
			_, _ = io.WriteString(w, `{"authorizationData":[{"authorizationToken":"`+token+`"}]}`)
		}
	}))
	defer s.Close()
	for key, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL": s.URL, "HOME": t.TempDir(),
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_PROFILE": "", "AWS_MAX_ATTEMPTS": "1",
	} {
		t.Setenv(key, value)
	}
	for _, host := range []string{"123456789012.dkr.ecr.eu-west-1.amazonaws.com", "public.ecr.aws"} {
		login, err := Source{}.Login(t.Context(), host)
		if err != nil || login != (credentials.Login{Username: "AWS", Password: "secret"}) {
			t.Errorf("%s: user %q, %v", host, login.Username, err)
		}
	}
	if login, err := (Source{}).Login(t.Context(), "quay.io"); err != nil || login != (credentials.Login{}) {
		t.Errorf("another host: %v", err)
	}
	if len(calls) != 2 {
		t.Errorf("calls %q", calls)
	}
	fail = true
	if _, err := (Source{}).Login(t.Context(), "public.ecr.aws"); err == nil {
		t.Error("a refusal is no error")
	}
	fail, token = false, "AWS"
	if _, err := (Source{}).Login(t.Context(), "public.ecr.aws"); err == nil {
		t.Error("an answer without a password is no error")
	}
}
