//! The models of `src/models`.

use strongroom_loom::models;

macro_rules! tests {
    ($($module:ident: $($model:ident)*;)*) => {
        $(mod $module { $(#[test] fn $model() { super::models::$module::$model(); })* })*
    };
}

tests! {
    background_thread: one_thread_runs_at_a_time no_thread_runs_after_the_end;
    cores: no_core_is_reserved_twice;
    driver: every_call_has_its_outcome the_thread_leaves_a_caller_alone
 a_caller_and_the_thread_do_not_both_have_the_right;
    group_commit: every_job_runs_once_and_reports_to_its_caller exclusive_work_runs_between_groups
        a_leader_waits_for_the_last_group a_panicking_leader_blocks_nobody;
    handoff: values_come_in_order_until_the_sender_is_dropped a_dropped_receiver_ends_a_send
        an_offer_wakes_the_receiver the_end_is_seen_with_and_without_a_timeout;
    pool: every_call_has_its_outcome two_calls_run_at_the_same_time a_thread_that_ends_leaves_no_call a_call_that_is_given_up_leaves_the_others
        a_value_is_dropped_with_the_last_handle;
}
