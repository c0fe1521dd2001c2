//! Typed values of the metrics' labels: few, and known beforehand, because each is a series in every output.

use super::metric::Metric;

/// A label of one metric. Its type says which metric that is, so that no other can be counted by it.
pub(crate) trait Label: Copy {
    /// The metric that it divides.
    const METRIC: Metric;
    /// Its place among the values of the label.
    fn place(self) -> usize;
}

/// An enum of label values with their names.
macro_rules! label {
    ($(#[$about:meta])* $label:ident of $metric:ident { $($value:ident = $name:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $label {
            $(#[doc = concat!("`", $name, "`")] $value,)+
        }

        impl $label {
            /// All values, in the order in which their series are shown.
            pub const ALL: &[$label] = &[$($label::$value),+];
            /// Their names, in the same order.
            pub const NAMES: &[&str] = &[$($name),+];

            /// Its name, as metrics and log lines show it.
            pub fn name(self) -> &'static str {
                match self { $($label::$value => $name,)+ }
            }
        }

        impl Label for $label {
            const METRIC: Metric = Metric::$metric;

            fn place(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// How a `PutRecords` request ended: what Kinesis did, the error code of a whole request, or what came in its place.
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
