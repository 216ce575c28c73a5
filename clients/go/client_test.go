package challenge

// Run by tests/clients/test_go.py, which starts the service and Envoy, and says where they are.

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	challengev1 "challenge-service/clients/go/challenge/v1"
)

const deadline = 5 * time.Second

// dialed is a client with what it sent, and how long it would have waited.
type dialed struct {
	challengev1.ChallengeAdminServiceClient
	calls     int
	deadlines []time.Duration
	waits     []time.Duration
	then      func() // after the first wait
}

func dial(t *testing.T, target string, token TokenSource) *dialed {
	t.Helper()
	d := &dialed{}
	c := &caller{mint: token, deadline: deadline, after: func(wait time.Duration) <-chan time.Time {
		d.waits = append(d.waits, wait)
		if d.then != nil && len(d.waits) > 1 {
			d.then()
			return nil
		}
		return time.After(0)
	}}
	count := func(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn,
		invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
		end, _ := ctx.Deadline()
		d.calls++
		d.deadlines = append(d.deadlines, time.Until(end))
		return invoke(ctx, method, request, reply, conn, options...)
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithChainUnaryInterceptor(c.call, count))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	d.ChallengeAdminServiceClient = challengev1.NewChallengeAdminServiceClient(conn)
	return d
}

func variable(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set; run tests/clients/test_go.py", name)
	}
	return value
}

func tokens(t *testing.T, names ...string) TokenSource {
	return func(context.Context) (string, error) {
		name := names[0]
		if len(names) > 1 {
			names = names[1:]
		}
		return variable(t, name), nil
	}
}

func open(t *testing.T, d *dialed) string {
	t.Helper()
	id := "cs_" + rand.Text()
	_, err := d.OpenSession(context.Background(), &challengev1.OpenSessionRequest{
		SessionId: id, AccountUid: "acct_1", ClientSecretSha256: make([]byte, 32),
		MerchantDisplayName: "Acme", ExpiresIn: durationpb.New(time.Minute),
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func failure(t *testing.T, err error) *Error {
	t.Helper()
	var failed *Error
	if !errors.As(err, &failed) {
		t.Fatalf("not an Error: %v", err)
	}
	return failed
}

func TestATokenIsMintedOnceUntilItIsRefused(t *testing.T) {
	minted := 0
	next := tokens(t, "CHALLENGE_EXPIRED_TOKEN", "CHALLENGE_TOKEN")
	d := dial(t, variable(t, "CHALLENGE_TARGET"), func(ctx context.Context) (string, error) {
		minted++
		return next(ctx)
	})
	open(t, d)
	open(t, d)
	if minted != 2 || d.calls != 3 {
		t.Fatalf("%d tokens, %d calls", minted, d.calls)
	}
}

func TestATokenThatIsRefusedAgainIsAnError(t *testing.T) {
	d := dial(t, variable(t, "CHALLENGE_TARGET"), tokens(t, "CHALLENGE_EXPIRED_TOKEN"))
	_, err := d.GetChallenge(context.Background(), &challengev1.GetChallengeRequest{SessionId: "cs_1"})
	if failure(t, err).Code != challengev1.Error_insufficient_scope || d.calls != 2 {
		t.Fatalf("%v after %d calls", err, d.calls)
	}
}

func TestEveryCallHasADeadline(t *testing.T) {
	d := dial(t, variable(t, "CHALLENGE_TARGET"), tokens(t, "CHALLENGE_TOKEN"))
	open(t, d)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, _ = d.GetChallenge(ctx, &challengev1.GetChallengeRequest{SessionId: "cs_1"})
	if d.deadlines[0] > deadline || d.deadlines[0] < deadline-time.Second || d.deadlines[1] > time.Second {
		t.Fatal(d.deadlines)
	}
}

func TestAnErrorSaysWhatTheServiceSays(t *testing.T) {
	d := dial(t, variable(t, "CHALLENGE_TARGET"), tokens(t, "CHALLENGE_TOKEN"))
	id := open(t, d)
	_, err := d.IssueChallenge(context.Background(), &challengev1.IssueChallengeRequest{
		SessionId: id, RequestId: "r-1",
		Method: &challengev1.IssueChallengeRequest_Sms{
			Sms: &challengev1.Sms{PhoneNumber: "+14155550123"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.VerifyChallenge(context.Background(), &challengev1.VerifyChallengeRequest{SessionId: id})
	failed := failure(t, err)
	if failed.Code != challengev1.Error_challenge_required || !failed.Recoverable ||
		failed.RequestID == "" || failed.AttemptsRemaining != -1 ||
		failed.Required.GetDeliveryHint() != "--0123" ||
		failed.Message != "Please complete the challenge first." {
		t.Fatalf("%+v", failed)
	}
	if status.Code(err) != codes.FailedPrecondition {
		t.Fatal(status.Code(err))
	}
	_, err = d.GetChallenge(context.Background(), &challengev1.GetChallengeRequest{})
	failed = failure(t, err)
	if len(failed.Fields) != 1 || !strings.HasPrefix(failed.Fields["session_id"], "must match") {
		t.Fatalf("%+v", failed)
	}
	if d.calls != 4 {
		t.Fatalf("%d calls", d.calls)
	}
}

func TestASpentQuotaIsWaitedForWhereTheDeadlineAllowsIt(t *testing.T) {
	d := dial(t, variable(t, "CHALLENGE_TARGET"), tokens(t, "CHALLENGE_TOKEN"))
	request := &challengev1.OpenSessionRequest{
		AccountUid: "acct_spent", ClientSecretSha256: make([]byte, 32), MerchantDisplayName: "Acme",
	}
	for range 100 {
		request.SessionId = "cs_" + rand.Text()
		if _, err := d.OpenSession(context.Background(), request); err != nil {
			failed := failure(t, err)
			if failed.Code != challengev1.Error_rate_limited || failed.RetryAfter < deadline || len(d.waits) != 0 {
				t.Fatalf("%+v", failed)
			}
			// Time does not pass here: the repeat is refused as well, and the test ends it.
			ctx, cancel := context.WithTimeout(context.Background(), failed.RetryAfter+time.Minute)
			defer cancel()
			d.then = cancel
			calls := d.calls
			_, _ = d.OpenSession(ctx, request)
			if d.calls != calls+2 || d.waits[0] < failed.RetryAfter-5*time.Second {
				t.Fatalf("%d calls, waits %v", d.calls-calls, d.waits)
			}
			return
		}
	}
	t.Fatal("no quota")
}

func TestWhereNobodyAnswersOnlyWhatIsSafeIsRepeated(t *testing.T) {
	for _, row := range []struct {
		name     string
		call     func(context.Context, *dialed) error
		repeated bool
	}{
		{"VerifyChallenge", func(ctx context.Context, d *dialed) error {
			_, err := d.VerifyChallenge(ctx, &challengev1.VerifyChallengeRequest{})
			return err
		}, false},
		{"VerifyChallenge with an id", func(ctx context.Context, d *dialed) error {
			_, err := d.VerifyChallenge(ctx, &challengev1.VerifyChallengeRequest{RequestId: "r-1"})
			return err
		}, true},
		{"IssueChallenge", func(ctx context.Context, d *dialed) error {
			_, err := d.IssueChallenge(ctx, &challengev1.IssueChallengeRequest{})
			return err
		}, false},
		{"OpenSession", func(ctx context.Context, d *dialed) error {
			_, err := d.OpenSession(ctx, &challengev1.OpenSessionRequest{})
			return err
		}, true},
		{"GetChallenge", func(ctx context.Context, d *dialed) error {
			_, err := d.GetChallenge(ctx, &challengev1.GetChallengeRequest{})
			return err
		}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := dial(t, variable(t, "CHALLENGE_NOBODY"), tokens(t, "CHALLENGE_TOKEN"))
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			failed := failure(t, row.call(ctx, d))
			if failed.Code != challengev1.Error_network_error || !failed.Recoverable {
				t.Fatalf("%+v", failed)
			}
			if d.calls > 1 != row.repeated {
				t.Fatalf("%d calls", d.calls)
			}
		})
	}
}
