"""The smallest project that validates: replace the names with your own and run `holdfast validate`."""

from datetime import datetime

import holdfast as hf


class Visit(hf.Event):
    visit_id: str = hf.event_id()
    at: datetime = hf.event_time()
    customer_id: str
    seconds: float = hf.field(scale=1, ge=0, le=86_400)


class Purchase(hf.Event):
    visit_id: str = hf.event_id()
    at: datetime = hf.event_time()
    recorded_at: datetime = hf.arrival_time()


project = hf.Project("blank", owner="me")
# known_after: history arrived when it happened. Say so, or give the schema a column hf.arrival_time().
visits = project.source("visits", Visit, known_after="0s")
purchases = project.source("purchases", Purchase)
customer = hf.Entity("customer", key="customer_id")


@project.view(visits, entity=customer)
def visit_activity(v):
    return {"visits_7d": v.count(over="7d"), "seconds_7d": v.seconds.sum(over="7d")}


@project.features(Visit, visit_activity)
def create_features(x):
    return {"seconds": x.seconds, "hour": x.at.hour(), **visit_activity.all}


@project.model(create_features, label=hf.Label(purchases, key="visit_id", horizon="1d", absent=0))
def purchase(data, params, run):
    from lightgbm import LGBMClassifier

    model = LGBMClassifier(
        **params, random_state=run.seed, deterministic=True, force_row_wise=True, verbose=-1
    )
    return model.fit(
        data.train.x, data.train.y, feature_name=data.names, categorical_feature=data.categorical
    )


project.release(purchase, gates=[hf.metric("auc") >= 0.6])
