#include "comm/collective_thread.h"

#include <utility>

namespace bertdist {

CollectiveThread::CollectiveThread(PeerWatch& watch)
    : watch_(watch), thread_([this](const std::stop_token& stop) { run(stop); }) {}

CollectiveThread::~CollectiveThread() {
  thread_.request_stop();
  thread_.join();
  watch_.take_back_collectives();
}

void CollectiveThread::push(std::function<void()> collective) {
  {
    const std::lock_guard lock(mutex_);
    if (!failure_) {
      watch_.hand_over_collectives(thread_.get_id());
      waiting_.push_back(std::move(collective));
    }
  }
  changed_.notify_all();
  throw_failure();
}

void CollectiveThread::finish() {
  watch_.main_thread_waits();
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_.empty() && !is_running_; });
  }
  watch_.take_back_collectives();
  throw_failure();
}

void CollectiveThread::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (changed_.wait(lock, stop, [&] { return !waiting_.empty(); }) && !stop.stop_requested()) {
    const std::function<void()> collective = std::move(waiting_.front());
    waiting_.pop_front();
    is_running_ = true;
    lock.unlock();
    std::exception_ptr failure;
    try {
      collective();
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    is_running_ = false;
    if (failure) {
      failure_ = failure;
      waiting_.clear();
    }
    changed_.notify_all();
  }
}

// A missing peer may have been told of meanwhile, by the thread that stands in for the main one: not once more.
void CollectiveThread::throw_failure() {
  std::unique_lock lock(mutex_);
  if (!failure_) return;
  lock.unlock();
  watch_.take_back_collectives();
  watch_.follow_verdict();
  std::rethrow_exception(failure_);
}

}  // namespace bertdist
