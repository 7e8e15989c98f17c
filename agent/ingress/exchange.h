// One request and its answer, from the whole head on: where it goes, what is altered on its way, what is tried again,
// and what is said of it afterwards. exchange.cpp is its life up to the server, and its end; exchange_outgoing.cpp what
// is sent, exchange_answer.cpp what comes back, exchange_reply.cpp what this side answers, exchange_record.cpp the
// record.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ingress/cluster.h"
#include "ingress/message.h"
#include "ingress/plan.h"
#include "ingress/stream.h"
#include "net/timeout.h"
#include "policy/http_actions.h"

namespace sluice::ingress {

class ClientConnection;
class Desk;
class Mirror;

class Exchange final : public RequestTaker, private AnswerTaker, private Cluster::Waiter {
 public:
  explicit Exchange(Desk& desk);
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // For the next request of `connection`: forgets the one before.
  void prepare(ClientConnection& connection);
  // To be filled in before it begins.
  Request& request() { return request_; }

  // From here on `client` is told the answer, perhaps before this returns, until it is released.
  void begin(ClientStream& client);
  // The same for what cannot be served.
  void refuse(ClientStream& client, unsigned status, std::string_view reason, std::string_view detail);
  // The rest of a request that has begun is wrong.
  void on_client_error(unsigned status, std::string_view reason, std::string_view detail);

  bool on_request_content(ByteSpan content) override;
  void on_request_end(const Fields& trailers) override;
  void on_client_gone(std::string_view why) override;
  void on_client_room() override;

 private:
  // Calls a step of the story when its time has come.
  class Alarm final : private net::Timeout {
   public:
    using Step = void (Exchange::*)();
    explicit Alarm(Exchange& exchange) : exchange_(exchange) {}
    void set(std::uint32_t delay_ms, Step step);
    void stop() { disarm(); }

   private:
    void on_timeout() override { (exchange_.*step_)(); }
    Exchange& exchange_;
    Step step_ = nullptr;
  };

  // The story, in its order.
  void find_route();
  void answer_here();       // in exchange_reply.cpp
  bool answer_preflight();  // likewise
  void inject_fault();
  void forward();
  // False: what its rule makes of the request cannot be sent.
  bool prepare_outgoing(const Destination& destination);
  void begin_mirrors();
  void try_place();
  void on_ready() override { try_place(); }
  void send_request();
  void on_no_stream(Cluster::NoStream why);

  // AnswerTaker
  void on_interim(unsigned status, const Fields& fields) override;
  void on_answer(const Answer& answer) override;
  bool on_answer_content(ByteSpan content) override;
  void on_answer_end(const Fields& trailers) override;
  void on_failure(const Failure& failure) override;
  void on_server_room() override;

  const HttpRetries& retries() const;
  // True: it is counted among the destination's retries from here on.
  bool may_retry(std::uint32_t conditions);
  bool may_retry(const Answer& answer);
  void retry();
  void on_try_timeout();
  void on_timeout();
  void on_no_connection();

  // Answers of our own.
  void respond(unsigned status, std::string_view reason, std::string_view detail);
  void respond_with(unsigned status, std::string_view content_type, std::string_view content);
  void refuse_grpc(unsigned status, std::string_view message);
  void abort_by_fault(const HttpFault::Abort& abort);

  void finish(std::string_view how);
  void drop_server();
  void record(std::string_view how);
  HttpRequest facts() const;

  Desk& desk_;
  Arena arena_;
  Alarm overall_{*this};
  Alarm step_{*this};

  // Of the request at hand:
  ClientConnection* connection_ = nullptr;
  ClientStream* client_ = nullptr;  // null: it is gone
  ServerStream* server_ = nullptr;  // null: none now
  std::shared_ptr<const Plan> plan_;
  Request request_;
  std::uint64_t started_ns_ = 0;
  std::string scratch_;
  std::string_view path_;  // canonical
  std::string_view query_;
  IngressRoute route_;
  const Destination* destination_ = nullptr;
  std::shared_ptr<Cluster> cluster_;
  std::shared_ptr<Place> place_;
  std::vector<const Place*> tried_;
  std::vector<Mirror*> mirrors_;
  OutgoingRequest outgoing_;
  Fields outgoing_fields_;
  HeaderFields altered_;  // the request's fields, where rules alter them
  CorsAnswer cors_;
  std::vector<std::uint8_t> sent_content_;  // of the request, to send it once more
  bool resendable_ = true;                  // sent_content_ is all of it
  bool request_ended_ = false;
  Fields request_trailers_;
  unsigned tries_ = 0;
  bool is_retry_ = false;  // counted among those of the destination
  bool fault_abort_due_ = false;
  const HttpFault::Abort* fault_abort_ = nullptr;

  unsigned status_ = 0;  // of the answer that the client got; 0: none yet
  bool answer_ended_ = false;
  std::uint64_t sent_bytes_ = 0;      // content to the client
  std::uint64_t received_bytes_ = 0;  // content from the client
  std::string reason_;                // why there is no answer of a server
  std::string detail_;
  std::string upstream_;
};

}  // namespace sluice::ingress
