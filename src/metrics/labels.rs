//! Typed label values. All are known in advance and few, because each is a time series in every output.

use super::metric::LabelledMetric;

/// A label of one metric. The type ties it to that metric.
pub trait Label: Copy {
    /// The metric it belongs to.
    const METRIC: LabelledMetric;
    /// Its index among the values of the label.
    fn place(self) -> usize;
}

/// Defines an enum of label values with their names.
macro_rules! label {
    ($(#[$about:meta])* $label:ident of $metric:ident { $($value:ident = $name:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $label {
            $(#[doc = concat!("`", $name, "`")] $value,)+
        }

        impl $label {
            /// All values, in the order of their series.
            pub const ALL: &[$label] = &[$($label::$value),+];
            /// Their names, in the same order.
            pub const NAMES: &[&str] = &[$($name),+];

            /// The name shown in metrics and log lines.
            pub fn name(self) -> &'static str {
                match self { $($label::$value => $name,)+ }
            }
        }

        impl Label for $label {
            const METRIC: LabelledMetric = LabelledMetric::$metric;

            fn place(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// How a `PutRecords` request ended: the result, the error code of the whole request, or what came instead of a
    /// reply.
    RequestOutcome of Requests {
        Ok = "ok",
        Partial = "partial",
        ProvisionedThroughputExceeded = "ProvisionedThroughputExceededException",
        Throttling = "ThrottlingException",
        LimitExceeded = "LimitExceededException",
        KmsThrottling = "KMSThrottlingException",
        ExpiredToken = "ExpiredTokenException",
        UnrecognizedClient = "UnrecognizedClientException",
        InvalidSignature = "InvalidSignatureException",
        AccessDenied = "AccessDeniedException",
        KmsAccessDenied = "KMSAccessDeniedException",
        ResourceNotFound = "ResourceNotFoundException",
        Validation = "ValidationException",
        InternalFailure = "InternalFailure",
        ServiceUnavailable = "ServiceUnavailable",
        Other4xx = "other_4xx",
        Other5xx = "other_5xx",
        Unreadable = "unreadable",
        NoReply = "no_reply",
        NoConnection = "no_connection",
        NoCredentials = "no_credentials",
    }
}

label! {
    /// Why a record is lost.
    RefusalReason of RecordsRefused {
        TooDeep = "too_deep",
        TooLarge = "too_large",
        NoLogKey = "no_log_key",
        NoStream = "no_stream",
        Compression = "compression",
        NotAnEvent = "not_an_event",
        ByKinesis = "refused_by_kinesis",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_of_a_label_has_its_name() {
        for outcome in RequestOutcome::ALL {
            assert_eq!(RequestOutcome::NAMES[outcome.place()], outcome.name());
        }
        for reason in RefusalReason::ALL {
            assert_eq!(RefusalReason::NAMES[reason.place()], reason.name());
        }
    }
}
